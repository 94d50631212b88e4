#!/usr/bin/env node
// stompjs over WebSocket: node stompjs.js ws://… KIND QUEUE MESSAGE… sends and prints what comes back. KIND is text, or
// binary for a client that sends binary messages and is answered in kind.
'use strict';

// 3*ab stands for ababab: long ones do not fit the command line.
const spelled = (text) => text.replace(/^(\d+)\*(.*)$/s, (_, times, part) => part.repeat(Number(times)));

const { Client } = require('@stomp/stompjs');
const WebSocket = require('ws');

function main([url, kind, queue, ...messages]) {
  let left = messages.length;
  let binary = 0;
  const client = new Client({
    webSocketFactory: () => {
      const socket = new WebSocket(url, ['v12.stomp', 'v11.stomp', 'v10.stomp']);
      socket.on('message', (_, isBinary) => { binary += isBinary ? 1 : 0; });
      return socket;
    },
    connectHeaders: { login: 'guest', passcode: 'guest' },
    reconnectDelay: 0,
    forceBinaryWSFrames: kind === 'binary',
    heartbeatIncoming: 1000,
    heartbeatOutgoing: 1000,
    onStompError: (frame) => { console.error(frame.headers.message); process.exitCode = 1; },
    onWebSocketClose: (event) => { console.log(`closed ${event.code} ${kind === 'binary' ? binary > 0 : binary === 0}`); },
    onConnect: () => {
      client.subscribe(`/queue/${queue}`, (message) => {
        console.log(message.body);
        if (--left === 0) client.deactivate();
      });
      for (const body of messages) {
        client.publish({ destination: `/queue/${queue}`, body: spelled(body) });
      }
    },
  });
  client.activate();
}

main(process.argv.slice(2));
