-- Requests for manifests, drawn at random from the volume's tags. Arguments: repositories, tags in each, seed,
-- "close" for one connection a request, and the value of an Authorization header, if any. Names are spelt as bench/fixture.py spells them.
local repositories, tags, tail

local threads = 0
function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

function init(arguments)
  repositories, tags = tonumber(arguments[1]), tonumber(arguments[2])
  math.randomseed(tonumber(arguments[3]) * 1000 + number)
  tail = " HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\n"
    .. "Accept: application/vnd.oci.image.manifest.v1+json\r\n"
    .. "Accept: application/vnd.docker.distribution.manifest.v2+json\r\n"
    .. "Accept: application/vnd.docker.distribution.manifest.list.v2+json\r\n"
    .. "Accept: application/vnd.oci.image.index.v1+json\r\n"
  if arguments[4] == "close" then
    tail = tail .. "Connection: close\r\n"
  end
  if arguments[5] and arguments[5] ~= "" then
    tail = tail .. "Authorization: " .. arguments[5] .. "\r\n"
  end
  tail = tail .. "\r\n"
end

function request()
  local repository = math.random(0, repositories - 1)
  return string.format("GET /v2/team-%03d/app-%05d/manifests/v1.%d",
    math.floor(repository / 100), repository, math.random(0, tags - 1)) .. tail
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"seconds": %f, "requests": %d, "bytes": %d, "p50_ms": %f, "p99_ms": %f,'
    .. ' "errors": {"status": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d}}\n',
    summary.duration / 1e6, summary.requests, summary.bytes, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect, errors.read, errors.write, errors.timeout))
end
