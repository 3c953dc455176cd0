// What servers and clients of node do every day, step by step, each with a line about how it went. Both ends are
// here. ADDRESS, and a folder with key.pem and cert.pem, are the arguments; nothing that is printed may depend on
// the moment.
'use strict';
const childProcess = require('node:child_process');
const crypto = require('node:crypto');
const dgram = require('node:dgram');
const events = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const path = require('node:path');
const stream = require('node:stream/promises');
const tls = require('node:tls');

const [, script, address, folder] = process.argv;
const bytes = crypto.createHash('shake256', { outputLength: 1 << 20 }).update('neat').digest();
const sum = (data) => crypto.createHash('sha256').update(data).digest('hex').slice(0, 16);
const file = (name) => path.join(folder, name);
const say = (...words) => fs.writeSync(1, words.join(' ') + '\n');

async function listening(server) {
  server.listen(0, address);
  await events.once(server, 'listening');
  return server.address().port;
}

async function pair(options) {
  const server = net.createServer({ allowHalfOpen: true, ...options });
  const port = await listening(server);
  const client = net.connect({ port, host: address, allowHalfOpen: true });
  const [[served]] = await Promise.all([events.once(server, 'connection'), events.once(client, 'connect')]);
  return { server, served, client };
}

async function gathered(readable) {
  const parts = [];
  for await (const part of readable) parts.push(part);
  return Buffer.concat(parts);
}

async function statusOf(child) {
  if (child.exitCode === null) await events.once(child, 'exit');
  return child.exitCode;
}

async function closed(...emitters) {
  await Promise.all(emitters.map((one) => one.closed ? null : events.once(one, 'close')));
}

function endOf(socket) {
  return new Promise((resolve) => {
    socket.on('error', (error) => resolve(error.code));
    socket.on('end', () => resolve('end'));
    socket.resume();
  });
}

const steps = {
  async 'files over http, both ways'() {
    fs.writeFileSync(file('down'), bytes);
    const server = http.createServer(async (request, response) => {
      if (request.method === 'POST') await stream.pipeline(request, fs.createWriteStream(file('up')));
      await stream.pipeline(fs.createReadStream(file('down')), response);
    });
    const port = await listening(server);
    const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
    const ask = (method) => new Promise((resolve, reject) => {
      const options = { host: address, port, method, agent };
      const request = http.request(options, (response) => gathered(response).then(resolve, reject));
      request.on('error', reject).end(method === 'POST' ? bytes : undefined);
    });
    const answers = await Promise.all(['GET', 'POST', 'GET', 'GET', 'GET', 'GET', 'GET', 'GET'].map(ask));
    say(answers.every((answer) => answer.equals(bytes)), fs.readFileSync(file('up')).equals(bytes));
    agent.destroy();
    server.close();
    await closed(server);
  },

  async 'a file has the number of a socket that was destroyed'() {
    for (let i = 0; i < 20; i++) {
      fs.writeFileSync(file('own'), `text ${i}`);
      const { server, served, client } = await pair();
      client.on('error', () => {});
      served.write('of the socket');
      await events.once(client, 'readable');
      client.destroy();
      const next = new Promise((resolve) => setImmediate(() => {
        const text = fs.readFileSync(file('own'), 'utf8');
        const number = fs.openSync(file('own'), 'r+');
        const written = fs.writeSync(number, 'more of it');
        fs.closeSync(number);
        resolve([text, written, fs.readFileSync(file('own'), 'utf8')]);
      }));
      const end = endOf(served);
      say(...await next, await end);
      served.destroy();
      server.close();
      await closed(server);
    }
  },

  async 'a client that is idle, and one that asks for a file'() {
    fs.writeFileSync(file('own'), 'its own');
    const { server, served, client } = await pair();
    served.destroy();
    say(fs.readFileSync(file('own'), 'utf8'));
    say(await endOf(client));
    client.destroy();
    server.close();
    await closed(server);
  },

  async 'reset'() {
    const { server, served, client } = await pair();
    const end = endOf(served);
    client.resetAndDestroy();
    say(await end);
    server.close();
    await closed(server);
  },

  async 'half-closed'() {
    const { server, served, client } = await pair();
    client.end('question');
    const question = await gathered(served);
    served.end(`answer to ${question}`);
    say(await gathered(client));
    server.close();
    await closed(server);
  },

  async 'refused'() {
    const { server, served, client } = await pair();
    const { port } = server.address();
    served.destroy();
    client.destroy();
    server.close();
    await closed(server);
    const [error] = await events.once(net.connect(port, address), 'error');
    say(error.code, error.syscall);
  },

  async 'tls'() {
    const key = fs.readFileSync(file('key.pem'));
    const cert = fs.readFileSync(file('cert.pem'));
    const server = tls.createServer({ key, cert }, (socket) => socket.pipe(socket));
    const port = await listening(server);
    for (let i = 0; i < 3; i++) {
      const client = tls.connect({ port, host: address, ca: cert, checkServerIdentity: () => undefined });
      await events.once(client, 'secureConnect');
      say(client.authorized, client.getProtocol());
      client.end(bytes);
      say(sum(await gathered(client)) === sum(bytes));
    }
    server.close();
    await closed(server);
  },

  async 'a child between two pipes'() {
    const { server, served, client } = await pair();
    const child = childProcess.spawn('cat', { stdio: ['pipe', 'pipe', 'inherit'] });
    const copied = stream.pipeline(served, child.stdin);
    const back = stream.pipeline(child.stdout, served);
    client.end(bytes);
    say(sum(await gathered(client)) === sum(bytes));
    await Promise.all([copied, back]);
    say(await statusOf(child));
    server.close();
    await closed(server);
  },

  async 'a program that talks to the socket'() {
    const { server, served, client } = await pair();
    const child = childProcess.spawn('sh', ['-c', 'read line; echo "heard $line"'], { stdio: [served, served, 2] });
    client.write('this\n');
    const [heard] = await events.once(client, 'data');
    say(String(heard).trim());
    say(await statusOf(child));
    served.destroy();
    say(await endOf(client));
    client.destroy();
    server.close();
    await closed(server);
  },

  async 'a child that is handed a connection'() {
    const { server, served, client } = await pair({ pauseOnConnect: true });
    const child = childProcess.fork(script, ['child'], { stdio: 'inherit' });
    await events.once(child, 'message');
    child.send('connection', served);
    client.end('for the child');
    say(await gathered(client));
    say(await statusOf(child));
    server.close();
    await closed(server);
  },

  async 'many at once, and files meanwhile'() {
    const server = net.createServer((socket) => {
      socket.on('error', () => {});
      socket.pipe(socket);
    });
    const port = await listening(server);
    const one = async (i) => {
      const client = net.connect(port, address);
      const text = bytes.subarray(i * 1000, i * 3000 + 1);
      client.end(text);
      const got = await gathered(client);
      fs.writeFileSync(file(`part${i}`), got);
      return fs.readFileSync(file(`part${i}`)).equals(text);
    };
    const right = await Promise.all(Array.from({ length: 100 }, (_, i) => one(i)));
    say(right.filter(Boolean).length);
    server.close();
    await closed(server);
  },

  async 'datagrams'() {
    const receiver = dgram.createSocket('udp4');
    receiver.bind(0, address);
    await events.once(receiver, 'listening');
    const sender = dgram.createSocket('udp4');
    sender.send('a datagram', receiver.address().port, address);
    const [text, from] = await events.once(receiver, 'message');
    say(text, from.address);
    receiver.close();
    sender.close();
    await closed(receiver, sender);
  },
};

async function main() {
  for (const [name, step] of Object.entries(steps)) {
    say(`# ${name}`);
    await step();
  }
  say('idle:', await comesToRest());
}

// Whoever waits in epoll for what nobody takes away is busy all the time.
async function comesToRest() {
  for (let i = 0; i < 50; i++) {
    const used = process.cpuUsage();
    const began = process.hrtime.bigint();
    await new Promise((resolve) => setTimeout(resolve, 100));
    const { user, system } = process.cpuUsage(used);
    if ((user + system) * 1000 < Number(process.hrtime.bigint() - began) / 2) return true;
  }
  return false;
}

function child() {
  process.on('message', (what, socket) => {
    socket.on('data', (data) => socket.write(`child got ${data}`));
    socket.on('end', () => socket.end());
    socket.on('close', () => process.disconnect());
  });
  process.send('ready');
}

if (address === 'child') {
  child();
} else {
  main();
}
