#!/usr/bin/env node
// The sender of the work-queue tutorial: node send.js amqp://… MESSAGE…
'use strict';

const amqp = require('amqplib');

async function main([url, ...messages]) {
  const connection = await amqp.connect(url);
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue('task_queue', { durable: true });
  for (const message of messages) {
    channel.sendToQueue('task_queue', Buffer.from(message), { persistent: true });
  }
  await channel.waitForConfirms();
  console.log(`sent ${messages.length}`);
  await channel.close();
  await connection.close();
}

main(process.argv.slice(2)).catch((err) => {
  console.error(err);
  process.exitCode = 1;
});
