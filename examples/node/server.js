// A server of Node.js without packages. paster sets PORT.
const http = require('http');

const server = http.createServer((request, response) => {
  response.setHeader('Content-Type', 'text/plain; charset=utf-8');
  response.end(`Hello from Node.js ${process.versions.node}, process ${process.pid}\n` +
    `You asked for ${request.url} from ${request.headers['x-forwarded-for']}.\n`);
});

server.listen(process.env.PORT, process.env.HOST);
