// A CSMS on ocpp-rpc that validates every frame by its own OCPP 2.0.1 schemas, both ways.
// Tells what it saw as JSON lines on stdout; takes {"method","params"} lines on stdin as CALLs.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const require = createRequire(process.cwd() + '/');
const { RPCServer, createRPCError } = require('ocpp-rpc');

const tell = (kind, more) => process.stdout.write(JSON.stringify({ kind, ...more }) + '\n');
const accepted = { status: 'Accepted' };
const answers = {
    BootNotification: () => ({ currentTime: new Date().toISOString(), interval: 300, ...accepted }),
    Heartbeat: () => ({ currentTime: new Date().toISOString() }),
    Authorize: () => ({ idTokenInfo: accepted }),
    TransactionEvent: (params) => (params.idToken ? { idTokenInfo: accepted } : {}),
    StatusNotification: () => ({}),
    MeterValues: () => ({}),
    NotifyEvent: () => ({}),
    NotifyReport: () => ({}),
    SecurityEventNotification: () => ({}),
};

const server = new RPCServer({ protocols: ['ocpp2.0.1'], strictMode: true });
let station = null;

server.on('client', (client) => {
    station = client;
    client.on('strictValidationFailure', ({ error }) => tell('invalid', { text: String(error) }));
    client.on('badMessage', ({ error }) => tell('bad', { text: String(error) }));
    client.handle(({ method, params, messageId }) => {
        tell('call', { method, params, messageId });
        if (!answers[method]) throw createRPCError('NotImplemented');
        return answers[method](params);
    });
});

createInterface({ input: process.stdin }).on('line', async (line) => {
    const { method, params } = JSON.parse(line);
    try {
        tell('answer', { method, params: await station.call(method, params) });
    } catch (error) {
        tell('failed', { method, text: `${error.rpcErrorCode ?? ''} ${error.message}` });
    }
}).on('close', () => process.exit(0));

const listener = await server.listen(0, '127.0.0.1');
tell('listening', { port: listener.address().port });
