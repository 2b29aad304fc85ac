"""Google Cloud Storage on this machine: the part of its JSON API that its clients use here.

After https://cloud.google.com/storage/docs/json_api: an object is replaced as a whole, seen by all
at once, and has a generation that a request may ask for; folders are nothing but common prefixes.
"""

import base64
import itertools
import json
import os
import re
import threading
from email.parser import BytesHeaderParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c

BUCKET = "bucket"


class Object(NamedTuple):
    content: bytes
    generation: int


class ObjectStore:
    """One bucket, in memory, served over HTTP while it is entered.

    Attributes:
      objects: by name.
      downloads: names of objects whose content was asked for, in this order.
      environment: with which a process finds it instead of Google's.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.downloads: list[str] = []
        self.lock = threading.Lock()
        self.generations = itertools.count(1)
        self.uploads: dict[str, tuple[str, dict[str, str], bytearray]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.environment = {
            "STORAGE_EMULATOR_HOST": self.url,
            "TENSORSTORE_GCS_HTTP_URL": self.url,
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # asks by gRPC what the bucket is
            "NO_GCE_CHECK": "true",  # whether this machine is Google's and has credentials
        }

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def names(self, prefix: str = "") -> list[str]:
        """Of all objects that begin so, sorted."""
        return sorted(name for name in list(self.objects) if name.startswith(prefix))

    def text(self, name: str) -> str:
        """An object as text."""
        return self.objects[name].content.decode()

    def upload(self, folder: "os.PathLike[str]", prefix: str) -> None:
        """Takes all files of a folder, as `gcloud storage cp -r` would."""
        for place, _, files in os.walk(folder):
            for file in files:
                path = os.path.join(place, file)
                with open(path, "rb") as opened:
                    self.write(f"{prefix}/{os.path.relpath(path, folder)}", opened.read())

    def write(self, name: str, content: bytes) -> Object:
        """Replaces an object."""
        self.objects[name] = Object(content, next(self.generations))
        return self.objects[name]


def _resource(name: str, found: Object) -> dict[str, Any]:
    checksum = base64.b64encode(google_crc32c.Checksum(found.content).digest()).decode()
    return {
        "kind": "storage#object",
        "bucket": BUCKET,
        "name": name,
        "size": str(len(found.content)),
        "generation": str(found.generation),
        "metageneration": "1",
        "contentType": "application/octet-stream",
        "crc32c": checksum,
        "etag": f"{found.generation}",
        "timeCreated": "2026-01-01T00:00:00.000Z",
        "updated": "2026-01-01T00:00:00.000Z",
    }


class _Error(Exception):
    def __init__(self, code: int):
        self.code = code


def _handler(store: ObjectStore) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # a response is one packet
        disable_nagle_algorithm = True

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionError:  # the client was killed, or wants no more
                self.close_connection = True

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else self._read_chunks()
            url = urlsplit(self.path)
            self.query = {name: values[0] for name, values in parse_qs(url.query).items()}
            try:
                self._route(url.path, body)
            except _Error as error:
                message = {"error": {"code": error.code, "message": f"{self.command} {url.path}"}}
                self._json(message, error.code)

        do_GET = do_POST = do_PUT = do_DELETE = _serve

        def _read_chunks(self) -> bytes:
            parts = []
            if self.headers.get("Transfer-Encoding") == "chunked":
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
            return b"".join(parts)

        def _route(self, path: str, body: bytes) -> None:
            found = re.fullmatch(
                r"(?P<kind>/upload|/download)?(?:/resumable)?/storage/v1/b/(?P<bucket>[^/]+)"
                r"(?:/(?P<listing>o)(?:/(?P<name>[^/]+)(?:/(?P<action>.+))?)?)?",
                path,
            )
            if not found or unquote(found["bucket"]) != BUCKET:
                raise _Error(404)
            name = unquote(found["name"] or "")
            if found["kind"] == "/upload":
                self._upload(body)
            elif not found["listing"]:
                self._json({"kind": "storage#bucket", "name": BUCKET, "location": "US"})
            elif not name:
                self._list()
            elif found["action"]:
                self._act(name, found["action"], body)
            elif self.command == "DELETE":
                self._existing(name)
                del store.objects[name]
                self._send(204, b"")
            elif self.query.get("alt") == "media" or found["kind"]:
                self._download(name)
            else:
                self._json(_resource(name, self._existing(name)))

        def _existing(self, name: str) -> Object:
            self._check_generation(name, self.query)
            found = store.objects.get(name)
            if not found or int(self.query.get("generation", found.generation)) != found.generation:
                raise _Error(404)
            return found

        def _check_generation(self, name: str, query: dict[str, str]) -> None:
            generation = store.objects[name].generation if name in store.objects else 0
            if int(query.get("ifGenerationMatch", generation)) != generation:
                raise _Error(412)
            if "ifGenerationNotMatch" in query and int(query["ifGenerationNotMatch"]) == generation:
                raise _Error(304 if self.command == "GET" else 412)

        def _list(self) -> None:
            prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter", "")
            first = max(self.query.get("startOffset", ""), self.query.get("pageToken", ""))
            end = self.query.get("endOffset", "\U0010ffff")
            most = int(self.query.get("maxResults", 1000))
            items: list[dict[str, Any]] = []
            prefixes: list[str] = []
            answer: dict[str, Any] = {"kind": "storage#objects"}
            for name in store.names(prefix):
                if not first <= name < end:
                    continue
                if len(items) + len(prefixes) == most:
                    answer["nextPageToken"] = name
                    break
                below, found, _ = name[len(prefix) :].partition(delimiter or "\0")
                if not found:
                    items.append(_resource(name, store.objects[name]))
                elif prefix + below + delimiter not in prefixes:
                    prefixes.append(prefix + below + delimiter)
            self._json(answer | {"items": items, "prefixes": prefixes})

        def _download(self, name: str) -> None:
            found = self._existing(name)
            store.downloads.append(name)
            headers = {"x-goog-generation": str(found.generation), "ETag": str(found.generation)}
            wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
            if not wanted:
                self._send(200, found.content, headers)
                return
            size = len(found.content)
            first = int(wanted[1]) if wanted[1] else max(0, size - int(wanted[2]))
            last = min(int(wanted[2]) if wanted[1] and wanted[2] else size - 1, size - 1)
            if first > last:
                raise _Error(416)
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
            self._send(206, found.content[first : last + 1], headers)

        def _upload(self, body: bytes) -> None:
            kind = self.query.get("uploadType")
            if "upload_id" in self.query:
                self._continue(self.query["upload_id"], body)
            elif kind == "resumable":
                name = self.query.get("name") or json.loads(body)["name"]
                number = str(len(store.uploads))
                store.uploads[number] = name, self.query, bytearray()
                self._send(200, b"", {"Location": f"{store.url}{self.path}&upload_id={number}"})
            elif kind == "multipart":
                head = b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n"
                boundary = BytesHeaderParser().parsebytes(head).get_boundary().encode()
                about, content = body.split(b"--" + boundary)[1:3]
                said = json.loads(about.split(b"\r\n\r\n", 1)[-1] or b"{}")
                content = content.split(b"\r\n\r\n", 1)[-1]
                self._write(self.query.get("name") or said["name"], content.removesuffix(b"\r\n"))
            else:
                self._write(self.query["name"], body)

        def _continue(self, number: str, part: bytes) -> None:
            name, query, so_far = store.uploads[number]
            wanted = re.fullmatch(
                r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", self.headers.get("Content-Range", "bytes */0")
            )
            if wanted[1]:
                del so_far[int(wanted[1]) :]
            so_far += part
            if wanted[2] != "*" and len(so_far) >= int(wanted[2]):
                self._write(name, bytes(so_far), query)
                return
            received = {"Range": f"bytes=0-{len(so_far) - 1}"} if so_far else {}
            self._send(308, b"", received)

        def _write(self, name: str, content: bytes, query: dict[str, str] | None = None) -> None:
            with store.lock:  # of two that ask for the same generation, one writes
                self._check_generation(name, self.query if query is None else query)
                written = store.write(name, content)
            self._json(_resource(name, written))

        def _act(self, name: str, action: str, body: bytes) -> None:
            if action == "compose":
                sources = json.loads(body)["sourceObjects"]
                parts = [self._existing(source["name"]).content for source in sources]
                self._json(_resource(name, store.write(name, b"".join(parts))))
                return
            kind, _, bucket, _, target = action.split("/", 4)
            if unquote(bucket) != BUCKET or kind not in ("rewriteTo", "copyTo"):
                raise _Error(404)
            found = _resource(name, store.write(unquote(target), self._existing(name).content))
            self._json({"done": True, "resource": found} if kind == "rewriteTo" else found)

        def _json(self, answer: Any, code: int = 200) -> None:
            self._send(code, json.dumps(answer).encode(), {"Content-Type": "application/json"})

        def _send(self, code: int, content: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(code)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if code not in (204, 304):
                self.wfile.write(content)

        def log_message(self, *words: object) -> None:
            pass

    return Handler
