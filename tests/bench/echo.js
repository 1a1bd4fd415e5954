// An echo server as Node's net module has it: make bench and lab 09 measure the stages beside it.
const net = require('net');

const server = net.createServer({ noDelay: true, keepAlive: true }, (socket) => {
  socket.on('data', (bytes) => socket.write(bytes));
  socket.on('error', () => socket.destroy());
});
server.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
