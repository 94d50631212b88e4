#!/usr/bin/env node
// The worker of the work-queue tutorial: node receive.js amqp://… COUNT. It ends after COUNT messages.
'use strict';

const amqp = require('amqplib');

async function main([url, count]) {
  const connection = await amqp.connect(url);
  const channel = await connection.createChannel();
  await channel.assertQueue('task_queue', { durable: true });
  await channel.prefetch(1);
  let left = Number(count);
  await new Promise((resolve, reject) => {
    connection.on('error', reject);
    channel.on('error', reject);
    channel.consume('task_queue', (message) => {
      console.log(`received ${message.content} ${message.properties.deliveryMode} ${message.fields.redelivered}`);
      channel.ack(message);
      left -= 1;
      if (left === 0) resolve();
    }, { noAck: false }).catch(reject);
  });
  await channel.close();
  await connection.close();
}

main(process.argv.slice(2)).catch((err) => {
  console.error(err);
  process.exitCode = 1;
});
