#!/usr/bin/env node
// MQTT.js over WebSocket: node mqttjs.js ws://… VERSION TOPIC MESSAGE… publishes and prints what comes back.
// NODE_EXTRA_CA_CERTS names who vouches for the server.
'use strict';

// 3*ab stands for ababab: long ones do not fit the command line.
const spelled = (text) => text.replace(/^(\d+)\*(.*)$/s, (_, times, part) => part.repeat(Number(times)));

const mqtt = require('mqtt');

async function main([url, version, topic, ...messages]) {
  const client = await mqtt.connectAsync(url, {
    protocolVersion: Number(version), protocolId: version === '3' ? 'MQIsdp' : 'MQTT', reconnectPeriod: 0,
  });
  let left = messages.length;
  const all = new Promise((resolve) => {
    client.on('message', (from, body) => {
      console.log(`${from} ${body}`);
      if (--left === 0) resolve();
    });
  });
  await client.subscribeAsync(topic, { qos: 1 });
  for (const message of messages) {
    await client.publishAsync(topic, spelled(message), { qos: 1 });
  }
  await all;
  await client.endAsync();
}

main(process.argv.slice(2)).catch((err) => {
  console.error(err);
  process.exitCode = 1;
});
