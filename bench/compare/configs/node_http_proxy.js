// node-http-proxy with kept connections and without an access log, as its own documentation sets it up.
// usage: node node_http_proxy.js PORT BACKEND_PORT ECHO_PORT HOSTS_FILE ECHO_HOST
const fs = require('fs');
const http = require('http');
const httpProxy = require('../node_modules/http-proxy');

const [port, backend, echo, hostsFile, echoHost] = process.argv.slice(2);
const targets = new Map();
for (const host of fs.readFileSync(hostsFile, 'utf8').split('\n').filter(Boolean)) {
  targets.set(host, {host: '127.0.0.1', port: backend});
}
targets.set(echoHost, {host: '127.0.0.1', port: echo});

const requests = httpProxy.createProxyServer({agent: new http.Agent({keepAlive: true, maxSockets: 256})});
const tunnels = httpProxy.createProxyServer({});

function failed(error, request, response) {
  console.error(error.code, request.url);
  if (response.writeHead) response.writeHead(502).end();
  else response.destroy();
}

const server = http.createServer((request, response) => {
  const target = targets.get(request.headers.host);
  if (!target) return response.writeHead(400).end();
  requests.web(request, response, {target}, failed);
});
server.on('upgrade', (request, socket, head) => {
  const target = targets.get(request.headers.host);
  if (!target) return socket.destroy();
  tunnels.ws(request, socket, head, {target}, failed);
});
server.listen(Number(port), '127.0.0.1', 4096);
