// An official socket.io server, told what to do in lines on its standard input.
// Usage: official-server.js SERVER, where SERVER is 4, 4-eio3 (which lets Engine.IO 3 in) or 2.
// Says: "port N", then "joined URL" for each socket with its request's URL, "left REASON", "acked".
'use strict';

const http = require('http');
const readline = require('readline');

const SKIPPED = 77;
const flavour = process.argv[2];
const name = flavour === '2' ? 'socket.io-2' : 'socket.io';
const options = { pingInterval: 300, pingTimeout: 3000, allowEIO3: flavour === '4-eio3' };
let io;

try {
	const server = http.createServer();
	const socketio = require(name);
	io = flavour === '2' ? socketio(server, options) : new socketio.Server(server, options);
	server.listen(0, '127.0.0.1', () => console.log(`port ${server.address().port}`));
} catch (e) {
	console.error(`SKIP: ${name} is not installed (npm ci in tests/conformance). Nothing was tested.`);
	process.exit(SKIPPED);
}

let refusing = false;
const notifications = io.of('/notifications');
const sockets = new Set();

notifications.use((socket, next) => next(refusing ? new Error('refused here') : undefined));
notifications.on('connection', (socket) => {
	sockets.add(socket);
	console.log(`joined ${socket.conn.request.url}`);
	socket.on('disconnect', (reason) => {
		sockets.delete(socket);
		console.log(`left ${reason}`);
	});
});

const commands = {
	emit: () => notifications.emit('notification', JSON.stringify({ value: [{ resource: 'R' }] })),
	object: () => notifications.emit('notification', { value: [] }),
	binary: () => notifications.emit('notification', Buffer.from([1, 2, 3]), Buffer.alloc(0)),
	other: () => notifications.emit('other', '{}'),
	ack: () => sockets.forEach((socket) => socket.emit('notification', '{}', () => console.log('acked'))),
	kick: () => sockets.forEach((socket) => socket.disconnect(false)),
	close: () => sockets.forEach((socket) => socket.disconnect(true)),
	refuse: () => (refusing = true),
	allow: () => (refusing = false),
	count: () => console.log(`sockets ${sockets.size}`),
};

readline
	.createInterface({ input: process.stdin })
	.on('line', (line) => commands[line]())
	.on('close', () => process.exit(0));
