#!/usr/bin/env node
// An MQTT.js client that does what standard input says, a line of JSON each, and answers on standard output:
// node device.js HOST PORT 4|5 OPTIONS
'use strict';

const mqtt = require('mqtt');
const readline = require('readline');

const [host, port, version, text] = process.argv.slice(2);
const wanted = JSON.parse(text);
const five = version === '5';

function say(line) {
  process.stdout.write(JSON.stringify(line) + '\n');
}

const options = {
  host, port: Number(port), protocolVersion: Number(version), clientId: wanted.id, clean: !wanted.keep,
  reconnectPeriod: 0, keepalive: 60, resubscribe: false, connectTimeout: 10000,
};
if (five && wanted.keep) options.properties = { sessionExpiryInterval: 3600 };
if (wanted.will) options.will = wanted.will;

const client = mqtt.connect(options);
client.on('connect', (connack) => {
  const assigned = five && connack.properties ? connack.properties.assignedClientIdentifier : '';
  say({ connected: true, present: connack.sessionPresent, assigned: assigned || '' });
});
let reason = 0; // of the last PUBACK or PUBREC, which the library keeps to itself
client.on('packetreceive', (packet) => {
  if (packet.cmd === 'puback' || packet.cmd === 'pubrec') reason = packet.reasonCode || 0;
});
client.on('error', (err) => say({ error: err.message }));
client.on('close', () => { say({ gone: true }); process.exit(0); });
client.on('message', (topic, payload, packet) => {
  const message = { topic, payload: payload.toString(), qos: packet.qos, retain: packet.retain };
  const p = packet.properties;
  if (p) {
    if (p.contentType) message.contentType = p.contentType;
    if (p.responseTopic) message.response = p.responseTopic;
    if (p.correlationData) message.correlation = p.correlationData.toString();
    if (p.messageExpiryInterval) message.expiry = p.messageExpiryInterval;
    if (p.subscriptionIdentifier) message.identifiers = [].concat(p.subscriptionIdentifier);
    if (p.userProperties) {
      message.users = Object.entries(p.userProperties).flatMap(([k, v]) => [].concat(v).map((each) => [k, each]));
    }
  }
  say({ message });
});

function answer(err, code) {
  say(err ? { error: err.message } : { code: code || 0 });
}

function subscribe(f) {
  const how = { qos: f.qos };
  if (five) {
    Object.assign(how, { nl: f.noLocal || false, rap: f.retainAsPublished || false, rh: f.retainHandling || 0 });
    if (f.identifier) how.properties = { subscriptionIdentifier: f.identifier };
  }
  client.subscribe(f.topic, how, (err, granted, suback) => {
    if (suback && suback.granted) return answer(null, suback.granted[0]);
    answer(err, granted && granted[0] && granted[0].qos);
  });
}

function publish(p) {
  const how = { qos: p.qos, retain: p.retain };
  if (five) {
    how.properties = {};
    if (p.contentType) how.properties.contentType = p.contentType;
    if (p.response) how.properties.responseTopic = p.response;
    if (p.correlation) how.properties.correlationData = Buffer.from(p.correlation);
    if (p.expiry) how.properties.messageExpiryInterval = p.expiry;
    if (p.users) {
      const users = {};
      for (const [k, v] of p.users) users[k] = k in users ? [].concat(users[k], v) : v;
      how.properties.userProperties = users;
    }
  }
  reason = 0;
  client.publish(p.topic, p.payload, how, (err) => answer(err, reason));
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const request = JSON.parse(line);
  if (request.subscribe) subscribe(request.subscribe);
  if (request.unsubscribe) client.unsubscribe(request.unsubscribe, (err) => answer(err));
  if (request.publish) publish(request.publish);
  if (request.disconnect) client.end(false);
  if (request.cut) client.stream.destroy();
});
