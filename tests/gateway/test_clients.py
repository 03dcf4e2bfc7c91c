"""Real clients, unchanged: curl, Triton's and OpenAI's, and TLS."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import tritonclient.http
from arm import Farm
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from rig import Gateway, Place, release, until
from small_bundle import NAMES, Small, make

# A real bundle behind the gateway, asked as MLflow's and Triton's users ask.


@pytest.fixture(scope="module")
def served(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    """A bundle's own server behind the shared gateway, as model ``flights``."""
    folder = tmp_path_factory.mktemp("bundle")
    small = make(folder)
    told = folder / "here.json"
    command = [sys.executable, f"{small.bundle.path}/serve.py", "--port", "0"]
    process = subprocess.Popen([*command, "--announce", str(told)], stderr=subprocess.DEVNULL)
    try:
        until(told.exists, "the bundle's announcement")
        port = json.loads(told.read_text())["port"]
        gateway.serve("flights", {"stable": (1.0, [port])})
        yield small
    finally:
        process.terminate()
        process.wait(20)


def curl(*arguments: str, data: bytes = b"") -> tuple[int, Any]:
    """What curl is answered: the status, and the body read as JSON where it is some."""
    command = [
        "curl",
        "--silent",
        "--show-error",
        "--max-time",
        "20",
        "--write-out",
        "\n%{http_code}",
    ]
    done = subprocess.run([*command, *arguments], input=data, capture_output=True, check=True)
    body, _, status = done.stdout.decode().rpartition("\n")
    return int(status), json.loads(body) if body.startswith("{") else body


def forms(small: Small) -> dict[str, str]:
    """The same rows in each of the forms that MLflow documents."""
    columns = dict(zip(NAMES, map(list, zip(*small.rows, strict=True)), strict=True))
    records = [dict(zip(NAMES, row, strict=True)) for row in small.rows]
    return {
        "dataframe_split": json.dumps(small.body),
        "dataframe_records": json.dumps({"dataframe_records": records}),
        "instances": json.dumps({"instances": records}),
        "inputs": json.dumps({"inputs": columns}),
        "csv": "\n".join([",".join(NAMES), *(",".join(map(str, row)) for row in small.rows)]),
    }


@pytest.mark.parametrize(
    "form", ["dataframe_split", "dataframe_records", "instances", "inputs", "csv"]
)
def test_curl_as_mlflow_documents_it(gateway: Gateway, served: Small, form: str) -> None:
    """Each documented form of a request gets the model's own predictions."""
    kind = "text/csv" if form == "csv" else "application/json"
    url = f"http://127.0.0.1:{gateway.port}/flights/invocations"
    asked = ["-H", f"Content-Type:{kind}", "--data-binary", "@-", url]
    status, answer = curl(*asked, data=forms(served)[form].encode())
    assert status == 200, answer
    assert answer["predictions"] == pytest.approx(served.answers, abs=1e-5)


def test_curl_asks_for_ping_and_version(gateway: Gateway, served: Small) -> None:
    """``/ping``, ``/health`` and ``/version`` of a model, with GET and HEAD."""
    base = f"http://127.0.0.1:{gateway.port}/flights"
    assert [curl(f"{base}/{page}")[0] for page in ("ping", "health", "version")] == [200] * 3
    assert curl("--head", f"{base}/ping")[0] == 200
    assert curl(f"{base}/invocations")[0] == 405
    assert curl(f"{base}/nowhere")[0] == 404


def test_curl_waits_to_be_told_to_go_on(gateway: Gateway, served: Small) -> None:
    """A large upload with ``Expect: 100-continue`` is told to go on, in one piece and in chunks."""
    rows = served.rows * 20
    split = {"columns": list(NAMES), "data": rows}
    body = json.dumps({"dataframe_split": split, "params": "x" * 1_500_000}).encode()
    asked = ["-H", "Content-Type: application/json", "-H", "Expect: 100-continue", "-v"]
    asked += ["--data-binary", "@-", f"http://127.0.0.1:{gateway.port}/flights/invocations"]
    for more in ([], ["-H", "Transfer-Encoding: chunked"]):
        done = subprocess.run(["curl", *more, *asked], input=body, capture_output=True, check=True)
        assert b"HTTP/1.1 100 Continue" in done.stderr
        assert len(json.loads(done.stdout).get("predictions", [])) == len(rows), done.stdout[:300]


def test_tritonclient_infers(gateway: Gateway, served: Small) -> None:
    """Triton's client finds server and model ready, reads metadata, infers by JSON and binary."""
    client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{gateway.port}")
    try:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("flights")
        told = client.get_model_metadata("flights")
        assert [i["name"] for i in told["inputs"]] == list(NAMES)
        table = np.array(served.rows)
        for binary in (False, True):
            inputs = []
            for at, name in enumerate(NAMES):
                tensor = tritonclient.http.InferInput(name, [len(table)], "FP64")
                tensor.set_data_from_numpy(table[:, at].copy(), binary_data=binary)
                inputs.append(tensor)
            output = tritonclient.http.InferRequestedOutput("predictions", binary_data=binary)
            result = client.infer("flights", inputs, outputs=[output], request_id="r1")
            assert result.as_numpy("predictions") == pytest.approx(served.answers, abs=1e-5)
            assert result.get_response()["id"] == "r1"
    finally:
        client.close()


# A service with an OpenAI-compatible API, relayed.

PRICED = {
    "protocol": "http",
    "prices": {
        "*": {
            "tokens_in": {"per_1k": 1.0, "field": "usage.prompt_tokens"},
            "tokens_out": {"per_1k": 4.0, "field": "usage.completion_tokens"},
        }
    },
    "access": {"keys": [hashlib.sha256(b"right").hexdigest()]},
}
HI: list[Any] = [{"role": "user", "content": "hi"}]


def test_openai_streams_through_the_gateway(gateway: Gateway, farm: Farm) -> None:
    """OpenAI's client sees the first words before the last are sent; their cost is on record."""
    arm = farm.arm(0.25)
    gateway.serve("words", {"stable": (1.0, [arm.port])}, PRICED)
    url = f"http://127.0.0.1:{gateway.port}/words/v1"
    with openai.OpenAI(base_url=url, api_key="right", max_retries=0, timeout=20) as client:
        options = {"include_usage": True}
        stream = client.chat.completions.create(
            model="words", messages=HI, stream=True, stream_options=options
        )
        told = next(stream).choices[0].delta.content  # the arm holds the rest back until now
        farm.let_go(arm)
        chunks = list(stream)
        told += "".join(c.choices[0].delta.content for c in chunks if c.choices)
        assert told == "it is 0.25"
        assert chunks[-1].usage.prompt_tokens == 2000
        whole = client.chat.completions.create(model="words", messages=HI)
        assert whole.choices[0].message.content == "it is 0.25"
    assert all("authorization" not in asked.headers for asked in arm.asked)
    assert {asked.line for asked in arm.asked} == {"POST /v1/chat/completions"}
    rows = until(lambda: len(r := gateway.place.rows("words")) == 2 and r, "two rows")
    assert [row["cost"] for row in rows] == [4.0, 4.0]
    refused = pytest.raises(openai.AuthenticationError, match="a key or a password is needed")
    with openai.OpenAI(base_url=url, api_key="wrong", max_retries=0) as client, refused:
        client.chat.completions.create(model="words", messages=HI)


def test_a_relayed_request_falls_back_before_its_answer_begins(
    gateway: Gateway, farm: Farm
) -> None:
    """What fails before the first byte is another arm's to answer; what breaks off later is cut."""
    stable, candidate = farm.arm(0.25), farm.arm(0.75, "500")
    arms = {"stable": (0.0, [stable.port]), "candidate": (1.0, [candidate.port])}
    gateway.serve("relayed", arms, {"protocol": "http"})
    answer = gateway.post("/relayed/any/path?a=1", {})
    assert (answer.prediction, answer.fallback) == (0.25, "status_500")
    assert answer.served_by == release("relayed", "stable")
    candidate.mode = "half"
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        gateway.post("/relayed/any/path", {})
    labels = {"model": "relayed", "arm": "candidate"}
    assert gateway.metric("slipway_errors_total", kind="broken_off_closed", **labels) == 1


def test_headers_of_one_connection_are_not_passed_on(gateway: Gateway, farm: Farm) -> None:
    """Hop-by-hop headers, and those that Connection names, stay; all others reach the arm."""
    arm = farm.arm()
    gateway.serve("hops", {"stable": (1.0, [arm.port])}, {"protocol": "http"})
    hops = {"connection": "keep-alive, x-hop", "x-hop": "1", "te": "trailers", "keep-alive": "3"}
    kept = {"x-mine": "2", "authorization": "Bearer theirs", "accept": "text/plain"}
    assert gateway.post("/hops/a", {}, {**hops, **kept}).status == 200
    (asked,) = arm.asked
    assert asked.line == "POST /a"
    assert {n: v for n, v in asked.headers.items() if n in {*hops, *kept}} == {
        name: value.lower() for name, value in kept.items()
    }


# TLS.


def certificate(folder: Path, serial: int) -> tuple[Path, Path]:
    """A certificate of its own for loopback, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "slipway")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), serial)
    builder = builder.not_valid_before(datetime(2020, 1, 1)).not_valid_after(  # noqa: DTZ001
        datetime.now() + timedelta(days=1)  # noqa: DTZ005
    )
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = builder.add_extension(alternative, False).sign(key, hashes.SHA256())
    pem, key_pem = folder / "cert.pem", folder / "key.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    formats = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key_pem.write_bytes(key.private_bytes(serialization.Encoding.PEM, *formats))
    return pem, key_pem


def test_tls_with_a_certificate_that_is_renewed(place: Place, farm: Farm) -> None:
    """HTTPS is served, and a new certificate is taken up without a restart."""
    pem, key = certificate(place.folder, 1001)
    with place.gateway("tls", "--tls-cert", str(pem), "--tls-key", str(key)) as gateway:
        gateway.serve("m", {"stable": (1.0, [farm.arm().port])})
        url = f"https://127.0.0.1:{gateway.port}/m/invocations"
        asked = ["-H", "Content-Type: application/json", "-d", '{"instances": [{"a": 1}]}', url]
        assert curl("--cacert", str(pem), *asked) == (200, {"predictions": [0.5], **_USAGE})
        certificate(place.folder, 1002)
        os.kill(gateway.process.pid, signal.SIGHUP)

        def renewed() -> bool:
            shown = ssl.get_server_certificate(("127.0.0.1", gateway.port))
            return x509.load_pem_x509_certificate(shown.encode()).serial_number == 1002

        until(renewed, "the new certificate")
        assert curl("--cacert", str(pem), *asked)[0] == 200
        trusted = pem.with_name("trusted.pem")
        trusted.write_bytes(pem.read_bytes())
        private = key.read_bytes()
        certificate(place.folder, 1003)
        key.write_bytes(private)  # as in the midst of a renewal: of another pair
        os.kill(gateway.process.pid, signal.SIGHUP)
        until(lambda: "the last one stays" in gateway.said, "a word on the pair")
        assert curl("--cacert", str(trusted), *asked)[0] == 200


_USAGE = {"usage": {"in": 2000, "out": 500}}
