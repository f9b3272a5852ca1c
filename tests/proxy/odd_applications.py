"""One application for each server: `/early`, `/body-to-head` and others answer oddly."""

from __future__ import annotations

import sys

from tests.proxy.real_servers import GUNICORN, GUNICORN_LISTENS, PUMA, PUMA_LISTENS, RealServer

HTTP_SERVER = rb"""
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args):
        pass
    def say(self, status, body=b"", *fields, length=None):
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        if length != "none":
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True
    def handle_expect_100(self):
        if self.path == "/refuse":
            self.say(401, b"no", ("Connection", "close"))
            return False
        return super().handle_expect_100()
    def do_GET(self):
        if self.path == "/early":
            self.say(401, b"no", ("Connection", "close"))
        elif self.path == "/body-to-head":
            self.say(200, b"hello")
        elif self.path == "/no-content":
            self.say(204, b"hello", length="none")
        elif self.path == "/not-modified":
            self.say(304, b"hello", ("ETag", '"x"'), length="none")
        elif self.path == "/longer":
            self.say(200, b"hello" + b" behind it" * 30000, length=5)
        elif self.path == "/events":
            self.say(200, b": hi\n\n", ("Content-Type", "text/event-stream"), length=99)
            self.wfile.flush()
            self.rfile.read(1)  # quiet until the proxy has gone
        elif self.path == "/hints":
            self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </s.css>; rel=preload\r\n\r\n")
            self.say(200, b"ok")
        elif self.path == "/trailers":
            self.say(200, b"2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n", ("Trailer", "X-Sum"),
                     ("Transfer-Encoding", "chunked"), length="none")
        elif self.path == "/upload":
            left, body = int(self.headers["Content-Length"]), b""
            while left:
                piece = self.rfile.read1(left)
                print("saw", len(piece), file=sys.stderr, flush=True)
                left, body = left - len(piece), body + piece
            self.say(200, body)
        else:
            self.say(200, b"ok")
    do_PUT = do_POST = do_HEAD = do_GET
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print("port", server.server_port, file=sys.stderr, flush=True)
server.serve_forever()
"""
NODE = rb"""
const http = require("http");
const answer = (request, response) => {
  const say = (status, body, fields) => response.writeHead(status, fields || {}).end(body);
  const raw = (text) => { request.socket.write(text); request.socket.end(); };
  switch (request.url) {
    case "/early":
      response.on("finish", () => request.destroy());
      return say(401, "no", { Connection: "close", "Content-Length": 2 });
    case "/body-to-head": return raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    case "/no-content": return raw("HTTP/1.1 204 No Content\r\n\r\nhello");
    case "/not-modified": return raw('HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\nhello');
    case "/longer":
      return raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" + " behind it".repeat(30000));
    case "/events":
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      return response.write(": hi\n\n");
    case "/hints":
      response.writeEarlyHints({ link: "</s.css>; rel=preload" });
      return say(200, "ok", { "Content-Length": 2 });
    case "/trailers":
      response.writeHead(200, { Trailer: "X-Sum" });
      response.write("ok");
      response.addTrailers({ "X-Sum": "7" });
      return response.end();
    case "/sent-trailers":
      return request.resume().on("end", () => say(200, String(request.trailers["x-sum"])));
    case "/upload": {
      let body = "";
      request.on("data", (piece) => { body += piece; console.error("saw", piece.length); });
      return request.on("end", () => say(200, body, { "Content-Length": body.length }));
    }
    case "/closes":
      say(200, "ok", { "Content-Length": 2 });
      return request.socket.end();
    default: return say(200, "ok", { "Content-Length": 2 });
  }
};
const server = http.createServer({ keepAliveTimeout: 1 }, answer);
server.on("checkContinue", (request, response) => {
  if (request.url !== "/refuse") { response.writeContinue(); return answer(request, response); }
  response.writeHead(401, { Connection: "close", "Content-Length": 2 });
  response.end("no");
});
server.listen(0, "127.0.0.1", () => console.error("port", server.address().port));
"""
WSGI = rb"""
import sys, time
def app(environ, start):
    path, body, fields, status = environ["PATH_INFO"], b"ok", [], "200 OK"
    if path in ("/early", "/refuse"):
        status, body = "401 Unauthorized", b"no"
    elif path == "/not-modified":
        status, body, fields = "304 Not Modified", b"hello", [("ETag", '"x"')]
    elif path == "/no-content":
        status, body = "204 No Content", b"hello"
    elif path == "/longer":
        start(status, [("Content-Length", "5")])
        return [b"hello", b" behind it" * 30000]
    elif path == "/events":
        start(status, [("Content-Type", "text/event-stream")])
        return quiet()
    elif path == "/body-to-head":
        body = b"hello"
    elif path == "/upload":
        body, left = b"", int(environ["CONTENT_LENGTH"])
        while left:  # gunicorn reads on until it has 1,024 bytes, or the end
            piece = environ["wsgi.input"].read(min(left, 1024))
            print("saw", len(piece), file=sys.stderr, flush=True)
            left, body = left - len(piece), body + piece
    if path not in ("/no-content", "/not-modified"):
        fields.append(("Content-Length", str(len(body))))
    start(status, fields)
    return [body]
def quiet():
    yield b": hi\n\n"
    time.sleep(30)
"""
RACK = rb"""
run ->(env) {
  say = ->(status, body, fields = {}) {
    [status, {"content-length" => body.bytesize.to_s}.merge(fields), [body]]
  }
  case env["PATH_INFO"]
  when "/early", "/refuse" then say.(401, "no")
  when "/body-to-head" then say.(200, "hello")
  when "/no-content" then [204, {}, []]
  when "/not-modified" then [304, {"etag" => '"x"'}, []]
  when "/longer" then say.(200, "hello" + " behind it" * 30000, "content-length" => "5")
  when "/events"
    events = Enumerator.new { |all| all << ": hi\n\n"; sleep 30 }
    [200, {"content-type" => "text/event-stream"}, events]
  when "/upload" then say.(200, env["rack.input"].read)
  when "/hints"
    env["rack.early_hints"]&.call("link" => "</s.css>; rel=preload")
    say.(200, "ok")
  else say.(200, "ok")
  end
}
"""
PYTHON_SERVER = RealServer(
    file="odd.py", source=HTTP_SERVER, words=(sys.executable, "odd.py"), listening=r"^port (\d+)"
)
SERVERS = {
    "http.server": PYTHON_SERVER,
    "node": RealServer(
        file="odd.js", source=NODE, words=("node", "odd.js"), listening=r"^port (\d+)"
    ),
    "gunicorn": RealServer(
        file="odd.py",
        source=WSGI,
        words=(*GUNICORN, "--threads", "8", "odd:app"),
        listening=GUNICORN_LISTENS,
    ),
    "Rack": RealServer(
        file="odd.ru",
        source=RACK,
        words=(*PUMA, "--early-hints", "--threads", "8:8", "odd.ru"),
        listening=PUMA_LISTENS,
    ),
}
