"""A scorer that answers which model file it serves; takes the real one's command line."""

import argparse
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    text = ""

    def do_GET(self) -> None:
        self.answer({"status": "Healthy"})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(asked.get("sleep", 0))
        self.answer({"model": self.text, "asked": asked})

    def answer(self, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path)
    parser.add_argument("--port-file", type=Path)
    given = parser.parse_args()
    Handler.text = (given.model / "MLmodel").read_text()
    if Handler.text == "broken":
        sys.exit("the weights cannot be read")
    print("loaded", Handler.text, flush=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    part = given.port_file.with_suffix(".part")
    part.write_text(str(server.server_address[1]))
    os.replace(part, given.port_file)
    server.serve_forever()


main()
