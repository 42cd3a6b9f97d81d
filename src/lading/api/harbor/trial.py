"""A page to try the API in a browser: its operations from the OpenAPI document, with a form for each.

It loads nothing from elsewhere, and its policy forbids that it could.
"""

from __future__ import annotations

from lading.api.harbor.call import Call
from lading.api.request import Response

_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    b"frame-ancestors 'none'"
)

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Lading: the API</title>
<link rel="stylesheet" href="try.css">
<h1>The API of this registry</h1>
<p>What of Harbor's API v2.0 is here, as <a href="openapi.json">OpenAPI</a>. Requests go to this registry, with the
name and the password below; these stay on this page.</p>
<p><label>Name <input id="name" autocomplete="username"></label>
<label>Password or token <input id="password" type="password" autocomplete="current-password"></label>
<label>Find <input id="term" type="search"></label></p>
<main id="operations">This page needs JavaScript.</main>
<script src="try.js"></script>
</html>
"""

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
label { display: inline-block; margin: 0 1rem .5rem 0; }
input, textarea { font: inherit; padding: .2rem .4rem; border: 1px solid #888; border-radius: .2rem; }
textarea { width: 100%; min-height: 6rem; font-family: ui-monospace, monospace; }
details { border: 1px solid #ccc; border-radius: .3rem; margin: .3rem 0; padding: .4rem .8rem; }
summary { cursor: pointer; }
summary code { font-weight: bold; }
pre { background: #f3f3f3; padding: .6rem; overflow: auto; max-height: 30rem; }
@media (prefers-color-scheme: dark) { body { background: #181818; color: #ddd; } pre { background: #242424; }
input, textarea { background: #242424; color: inherit; } a { color: #8bf; } }
"""

_SCRIPT = """
'use strict';
const $ = id => document.getElementById(id);
const make = (name, text, attributes) => {
  const one = Object.assign(document.createElement(name), attributes || {});
  if (text) one.textContent = text;
  return one;
};
const example = (schema, all, depth) => {
  if (!schema || depth > 5) return null;
  if (schema.$ref) return example(all[schema.$ref.split('/').pop()], all, depth + 1);
  if (schema.anyOf) return example(schema.anyOf.find(one => one.type !== 'null'), all, depth + 1);
  if ('default' in schema && schema.default !== null) return schema.default;
  if (schema.enum) return schema.enum[0];
  if (schema.type === 'array') return [example(schema.items, all, depth + 1)];
  if (schema.type === 'object') return Object.fromEntries(
    Object.entries(schema.properties || {}).map(([name, one]) => [name, example(one, all, depth + 1)]));
  return {integer: 0, boolean: false, string: ''}[schema.type] ?? null;
};
const operation = (base, path, method, told, all) => {
  const box = make('details');
  const head = make('summary');
  head.append(make('code', method.toUpperCase() + ' ' + path), ' ' + told.summary);
  box.append(head, make('p', told.description));
  const fields = told.parameters.map(parameter => {
    const field = make('input', '', {placeholder: parameter.in});
    const label = make('label', parameter.name + ' ');
    label.append(field);
    box.append(label);
    return [parameter, field];
  });
  let body = null;
  if (told.requestBody) {
    body = make('textarea');
    body.value = JSON.stringify(example(told.requestBody.content['application/json'].schema, all, 0), null, 2);
    box.append(body);
  }
  const send = make('button', 'Send'), result = make('pre');
  result.hidden = true;
  send.addEventListener('click', async () => {
    let url = base + path;
    const query = new URLSearchParams(), headers = {};
    for (const [parameter, field] of fields) {
      if (parameter.in === 'path') {
        let value = encodeURIComponent(field.value);
        if (parameter.name === 'repository_name') value = encodeURIComponent(value);
        url = url.replace('{' + parameter.name + '}', value);
      } else if (field.value && parameter.in === 'query') query.set(parameter.name, field.value);
      else if (field.value) headers[parameter.name] = field.value;
    }
    if ($('name').value) {
      const bytes = new TextEncoder().encode($('name').value + ':' + $('password').value);
      headers.Authorization = 'Basic ' + btoa(String.fromCharCode(...bytes));
    }
    if (body) headers['Content-Type'] = 'application/json';
    result.hidden = false;
    try {
      const answer = await fetch(url + (query.size ? '?' + query : ''), {
        method: method.toUpperCase(), headers, body: body ? body.value : undefined, credentials: 'omit'});
      let text = await answer.text();
      try { text = JSON.stringify(JSON.parse(text), null, 2); } catch { /* it is no JSON */ }
      const shown = ['location', 'link', 'x-total-count'].filter(name => answer.headers.get(name))
        .map(name => name + ': ' + answer.headers.get(name));
      result.textContent = [answer.status + ' ' + answer.statusText, ...shown, '', text].join('\\n');
    } catch (error) { result.textContent = String(error); }
  });
  box.append(make('p'), send, result);
  return box;
};
fetch('openapi.json').then(answer => answer.json()).then(document => {
  const place = $('operations'), base = document.servers[0].url, boxes = [];
  place.replaceChildren();
  for (const [path, methods] of Object.entries(document.paths))
    for (const [method, told] of Object.entries(methods)) {
      const box = operation(base, path, method, told, document.components.schemas);
      boxes.push([box, (method + ' ' + path + ' ' + told.summary).toLowerCase()]);
      place.append(box);
    }
  $('term').addEventListener('input', () => boxes.forEach(([box, text]) => {
    box.hidden = !text.includes($('term').value.toLowerCase());
  }));
}).catch(error => { $('operations').textContent = String(error); });
"""


async def page(call: Call) -> Response:  # noqa: ARG001 - every handler is called alike
    """The page."""
    return _answer(b"text/html; charset=utf-8", _PAGE)


async def script(call: Call) -> Response:  # noqa: ARG001 - every handler is called alike
    """What moves in it."""
    return _answer(b"text/javascript; charset=utf-8", _SCRIPT)


async def style(call: Call) -> Response:  # noqa: ARG001 - every handler is called alike
    """How it looks."""
    return _answer(b"text/css; charset=utf-8", _STYLE)


def _answer(media_type: bytes, text: str) -> Response:
    headers = [
        (b"content-type", media_type),
        (b"content-security-policy", _POLICY),
        (b"referrer-policy", b"no-referrer"),
    ]
    return Response(200, headers, text.strip().encode())
