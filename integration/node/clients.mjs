#!/usr/bin/env node
// Two clients whose packages have no tests: node clients.mjs amqp://USER:PASSWORD@HOST:PORT PREFIX prints a line for each
// thing it asks of the broker. What it declares begins with PREFIX, and goes at the end.
import { AMQPClient } from '@cloudamqp/amqp-client';
import { Connection } from 'rabbitmq-client';

const [url, prefix] = process.argv.slice(2);
const patience = 10_000; // milliseconds for one step

async function step(name, run) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error('no answer')), patience); });
  let got;
  try {
    got = await Promise.race([run(), late]);
  } catch (error) {
    got = error.message.split('\n')[0].replaceAll(prefix, 'PREFIX');
  }
  clearTimeout(timer);
  console.log(`${name}: ${got === undefined ? 'done' : got}`);
}

async function rabbitmqClient() {
  const c = new Connection(url);
  const [queue, exchange, calls] = ['queue', 'exchange', 'calls'].map((kind) => `${prefix}.${kind}`);
  c.on('error', () => {}); // each step says its own
  await step('connect', async () => { await c.onConnect(); });
  await step('declare', async () => { await c.queueDeclare({ queue, durable: true }); });
  await step('declare otherwise', () => c.queueDeclare({ queue, durable: false }));
  await step('ask for what is not there', () => c.queueDeclare({ queue: `${prefix}.none`, passive: true }));
  await step('bind', async () => {
    await c.exchangeDeclare({ exchange, type: 'topic', durable: true });
    await c.queueBind({ queue, exchange, routingKey: 'a.#' });
  });
  await step('publish with confirms', async () => {
    const p = c.createPublisher({ confirm: true });
    await p.send({ exchange, routingKey: 'a.b', durable: true, headers: { h: 1 } }, { json: 1 });
    await p.close();
  });
  await step('publish to nobody', async () => {
    const p = c.createPublisher({ confirm: true });
    const returned = new Promise((resolve) => { p.once('basic.return', (m) => resolve(m.replyText)); });
    await p.send({ routingKey: `${prefix}.none`, mandatory: true }, 'x');
    const text = await returned;
    await p.close();
    return text;
  });
  await step('get', async () => {
    const m = await c.basicGet({ queue, noAck: true });
    return JSON.stringify([m.body, m.headers, m.routingKey, m.messageCount]);
  });
  await step('consume and give back', async () => {
    const p = c.createPublisher({ confirm: true });
    await p.send(queue, 'again');
    await p.close();
    const seen = [];
    let consumer;
    await new Promise((resolve, reject) => {
      consumer = c.createConsumer({ queue, queueOptions: { durable: true }, qos: { prefetchCount: 1 } }, async (m) => {
        seen.push(m.redelivered);
        if (seen.length === 1) return 1; // REQUEUE
        resolve();
        return 0; // ACK
      });
      consumer.on('error', reject);
    });
    await consumer.close();
    return seen;
  });
  await step('call', async () => {
    const server = c.createConsumer({ queue: calls, queueOptions: { autoDelete: true } }, async (m, reply) => { await reply(`re: ${m.body}`); });
    await new Promise((resolve, reject) => { server.on('ready', resolve).on('error', reject); });
    const caller = c.createRPCClient({ confirm: true });
    const answer = await caller.send(calls, 'ping');
    await caller.close();
    await server.close();
    return answer.body;
  });
  await step('commit', async () => {
    const channel = await c.acquire();
    await channel.txSelect();
    await channel.basicPublish(queue, 'committed');
    await channel.txCommit();
    const m = await channel.basicGet({ queue, noAck: true });
    await channel.close();
    return m.body;
  });
  await step('delete', async () => {
    await c.exchangeDelete({ exchange });
    return (await c.queueDelete({ queue })).messageCount;
  });
  await step('close', async () => { await c.close(); });
}

async function amqpClient() {
  const c = new AMQPClient(url);
  const [queue, exchange] = [`${prefix}.queue`, `${prefix}.exchange`];
  let channel;
  await step('connect', async () => { await c.connect(); channel = await c.channel(); });
  await step('declare', async () => { await channel.queueDeclare(queue, { durable: true, autoDelete: false }); });
  await step('publish with confirms', async () => {
    await channel.confirmSelect();
    return channel.basicPublish('', queue, 'one', { deliveryMode: 2, headers: { a: true } });
  });
  await step('get', async () => {
    const m = await channel.basicGet(queue, { noAck: false });
    await m.ack();
    return m.bodyString();
  });
  await step('consume and cancel', async () => {
    const seen = [];
    await new Promise((resolve) => {
      channel.basicConsume(queue, { noAck: false, tag: 't' }, (m) => {
        seen.push(m.bodyString());
        m.ack();
        if (seen.length === 3) resolve();
      }).then(() => { for (const body of ['x', 'y', 'z']) channel.basicPublish('', queue, body); });
    });
    await channel.basicCancel('t');
    return seen;
  });
  await step('recover', async () => { await channel.prefetch(10); await channel.basicRecover(true); });
  await step('a mistake', async () => { await (await c.channel()).queueBind(`${prefix}.none`, 'amq.topic', 'k'); });
  await step('bind exchanges', async () => {
    const other = await c.channel();
    await other.exchangeDeclare(exchange, 'fanout', { autoDelete: true });
    await other.exchangeBind(exchange, 'amq.topic', 'k');
    await other.exchangeUnbind(exchange, 'amq.topic', 'k');
    await other.exchangeDelete(exchange);
    await other.close();
  });
  await step('roll back and commit', async () => {
    const other = await c.channel();
    await other.txSelect();
    await other.basicPublish('', queue, 'rolled back');
    await other.txRollback();
    await other.basicPublish('', queue, 'committed');
    await other.txCommit();
    const m = await other.basicGet(queue, { noAck: true });
    const none = await other.basicGet(queue, { noAck: true });
    await other.close();
    return [m.bodyString(), String(none)];
  });
  await step('a megabyte', async () => {
    await channel.basicPublish('', queue, 'b'.repeat(1_000_000));
    return (await channel.basicGet(queue, { noAck: true })).bodyString().length;
  });
  await step('a new secret', async () => { await c.updateSecret('guest', 'because'); });
  await step('delete', async () => (await channel.queueDelete(queue)).messageCount);
  await step('close', async () => { await c.close(); });
}

console.log('rabbitmq-client');
await rabbitmqClient();
console.log('@cloudamqp/amqp-client');
await amqpClient();
process.exit(0);
