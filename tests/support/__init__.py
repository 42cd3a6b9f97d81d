"""Helpers shared by the tests: servers started for real, images built without a network, a tiny HTTP client.

===============  =====================================================================================
``ports``        a free port on loopback that no other test process will pick meanwhile
``process``      start a program, wait until it answers, stop it and all it started, show its log
``lading``       a Lading server under test
``peer``         registry:2 (Debian's ``docker-registry``), for comparison and for adopting its volume
``images``       small images, indexes and big layers, as OCI layouts, docker archives or plain blobs
``http``         requests a test makes itself, over httpx2
``access``       a certificate authority, htpasswd files, a token server
``packages``     the Debian packages tests need (``debian.txt``), and the failure when one is missing
``plugin``       a pytest hook that adds the logs of running servers to a failing test's report
===============  =====================================================================================
"""
