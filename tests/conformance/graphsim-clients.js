// graphsim against the official socket.io clients: what they accept, our own client may rely on.
// Usage: graphsim-clients.js CLIENT, where CLIENT is 4 or 2. GRAPHSIM_BIN names the program.
'use strict';

const assert = require('assert');
const { spawn } = require('child_process');
const readline = require('readline');

const SKIPPED = 77;
const PING_MS = 300;
const version = process.argv[2];
const name = version === '2' ? 'socket.io-client-2' : 'socket.io-client';
let io;
try {
	io = require(name);
} catch (e) {
	console.error(`SKIP: ${name} is not installed (npm ci in tests/conformance). Nothing was tested.`);
	process.exit(SKIPPED);
}

const deadline = setTimeout(() => {
	console.error('the test did not end in time');
	process.exit(1);
}, 60000);

let hello;
let failed = 0;
let passed = 0;

async function admin(path, body, method) {
	const reply = await fetch(hello.admin + path, {
		method: method || (body ? 'POST' : 'GET'),
		body: body && JSON.stringify(body),
	});
	assert.strictEqual(reply.status, 200, `${path}: ${reply.status}`);
	return reply.json();
}

async function signIn() {
	const form = (fields) => ({ method: 'POST', body: new URLSearchParams(fields) });
	const base = `${hello.login}/common/oauth2/v2.0`;
	const code = await (await fetch(`${base}/devicecode`, form({ client_id: 'x', scope: 'y' }))).json();
	const grant = await (
		await fetch(
			`${base}/token`,
			form({
				grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
				client_id: 'x',
				device_code: code.device_code,
			})
		)
	).json();
	return grant.access_token;
}

async function subscribe(token) {
	const reply = await fetch(`${hello.api}/me/drive/root/subscriptions/socketIo`, {
		headers: { Authorization: `Bearer ${token}` },
	});
	return (await reply.json()).notificationUrl;
}

function connect(url) {
	return io(url, { transports: ['websocket'], reconnection: false, forceNew: true });
}

function once(socket, event, ms) {
	return new Promise((resolve, reject) => {
		const timer = setTimeout(() => reject(new Error(`no ${event} within ${ms || 5000} ms`)), ms || 5000);
		socket.once(event, (...args) => {
			clearTimeout(timer);
			resolve(args);
		});
	});
}

async function check(what, knobs, run, token) {
	try {
		await admin('/socket', { action: 'normal', ping_interval_ms: PING_MS, ping_timeout_ms: 200, ...knobs });
		const socket = connect(await subscribe(token));
		await run(socket);
		socket.close();
		passed++;
		console.log(`ok   client ${version}: ${what}`);
	} catch (e) {
		failed++;
		console.log(`FAIL client ${version}: ${what}: ${e.stack}`);
	}
}

let file = 0;
async function eventAfterChange(socket) {
	const event = once(socket, 'notification');
	await admin('/create', { path: `f${file++}.txt`, text: 'x' });
	return (await event)[0];
}

async function expectEvent(socket) {
	await once(socket, 'connect');
	const payload = JSON.parse(await eventAfterChange(socket));
	assert.ok(payload.value[0].subscriptionId);
}

async function main(token) {
	await check('event after a change', {}, expectEvent, token);
	await check('stays up over many heartbeats', {}, async (socket) => {
		await once(socket, 'connect');
		let reason = null;
		socket.once('disconnect', (why) => (reason = why));
		const before = (await admin('/violations')).count;
		await new Promise((resolve) => setTimeout(resolve, PING_MS * 6));
		assert.strictEqual(reason, null);
		assert.strictEqual((await admin('/violations')).count, before);
		await eventAfterChange(socket);
	}, token);
	// Not smaller: the WebSocket library of the older client takes a hundred pings for an attack.
	await check('fragments with pings between', { fragment: 7, ws_pings: true }, expectEvent, token);
	await check('escaped event name', { escaped: true }, expectEvent, token);
	await check('namespace without comma', { comma: false, connect: 'no_sid' }, async (socket) => {
		// The client of protocol 5 wants a session id and says so.
		const [first] = await once(socket, version === '2' ? 'connect' : 'connect_error');
		if (version !== '2')
			assert.match(String(first), /v2\.x|sid|server/i);
	}, token);
	await check('namespace refused', { connect: 'error' }, async (socket) => {
		const [error] = await once(socket, version === '2' ? 'error' : 'connect_error');
		assert.match(error.message || String(error), /Invalid namespace/);
	}, token);
	await check('kicked by packet 41', {}, async (socket) => {
		await once(socket, 'connect');
		const gone = once(socket, 'disconnect');
		await admin('/socket/send', { text: '41/notifications,' });
		assert.strictEqual((await gone)[0], 'io server disconnect');
	}, token);
	await check('closed with 1001', {}, async (socket) => {
		await once(socket, 'connect');
		const gone = once(socket, 'disconnect');
		await admin('/socket/send', { close: 1001 });
		assert.strictEqual((await gone)[0], 'transport close');
	}, token);
	await check('reset', {}, async (socket) => {
		await once(socket, 'connect');
		const gone = once(socket, 'disconnect');
		await admin('/socket/send', { reset: true });
		assert.match((await gone)[0], /transport (close|error)/);
	}, token);
	await check('silence ends the connection', {}, async (socket) => {
		await once(socket, 'connect');
		const gone = once(socket, 'disconnect');
		await admin('/socket', { action: 'silence' });
		assert.strictEqual((await gone)[0], 'ping timeout');
	}, token);
	await check('event that wants an acknowledgement', { ack: true }, async (socket) => {
		await once(socket, 'connect');
		const event = new Promise((resolve) => socket.once('notification', (_, ack) => resolve(ack)));
		await admin('/create', { path: `f${file++}.txt`, text: 'x' });
		(await event)();
		for (let i = 0; i < 100; i++) {
			if ((await admin('/socket')).sockets.some((s) => s.acks === 1))
				return;
			await new Promise((resolve) => setTimeout(resolve, 20));
		}
		assert.fail('the acknowledgement never came');
	}, token);
	await check('binary event', { binary: true }, async (socket) => {
		await once(socket, 'connect');
		const data = await eventAfterChange(socket);
		assert.deepStrictEqual([...data], [1, 2]);
	}, token);
	// The client of protocol 4 does not mind.
	if (version !== '2') {
		await check('garbage ends the connection', {}, async (socket) => {
			await once(socket, 'connect');
			const gone = once(socket, 'disconnect');
			await admin('/socket/send', { text: '4abc' });
			assert.match((await gone)[0], /parse error|transport/);
		}, token);
	}
	await check('upgrade refused', { action: 'refuse' }, async (socket) => {
		await once(socket, 'connect_error');
	}, token);
	// The control: a client that hears nothing must be noticed by this test.
	await check('control', { notify: false }, async (socket) => {
		await once(socket, 'connect');
		const event = once(socket, 'notification', 500).then(
			() => assert.fail('an event came although there is none'),
			() => {}
		);
		await admin('/create', { path: `f${file++}.txt`, text: 'x' });
		await event;
	}, token);
}

const sim = spawn(process.env.GRAPHSIM_BIN, ['--port', '0', '--lenient', '--exit-with-parent'], {
	stdio: ['ignore', 'pipe', 'inherit'],
});
readline.createInterface({ input: sim.stdout }).once('line', async (line) => {
	hello = JSON.parse(line);
	try {
		await main(await signIn());
	} catch (e) {
		failed++;
		console.log(e.stack);
	}
	console.log(`${passed} passed, ${failed} failed`);
	clearTimeout(deadline);
	sim.once('exit', (code) => process.exit(failed || code ? 1 : 0));
	sim.kill('SIGTERM');
});
