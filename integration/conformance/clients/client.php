<?php
// The stomp extension, which speaks 1.0: php client.php HOST PORT QUEUE
[, $host, $port, $queue] = $argv;
$client = new Stomp("tcp://$host:$port", 'guest', 'guest');
$destination = "/queue/$queue";
$client->subscribe($destination, ['ack' => 'client']);
$client->begin('t');
$client->send($destination, 'one', ['transaction' => 't', 'persistent' => 'true']);
$client->commit('t');
if (!$client->send($destination, 'two', ['receipt' => 'r'])) {
    exit('no receipt');
}
foreach (['one', 'two'] as $want) { // both have come while it waited for the receipt
    $frame = $client->readFrame();
    if (!$frame || $frame->body !== $want || !$client->ack($frame)) {
        exit("no $want");
    }
}
unset($client);
echo "ok\n";
