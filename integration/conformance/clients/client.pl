# Net::Stomp, which speaks 1.0: perl client.pl HOST PORT QUEUE
use strict;
use warnings;
use Net::Stomp;

my ($host, $port, $queue) = @ARGV;
my $client = Net::Stomp->new({ hostname => $host, port => $port });
die "not connected" unless $client->connect({ login => 'guest', passcode => 'guest' })->command eq 'CONNECTED';
my $destination = "/queue/$queue";
$client->subscribe({ destination => $destination, ack => 'client', 'activemq.prefetchSize' => 1 });
$client->send({ destination => $destination, body => 'one' });
die "no receipt" unless $client->send_transactional({ destination => $destination, body => 'two' });
for my $want ('one', 'two') {
	my $frame = $client->receive_frame({ timeout => 10 }) or die "no $want";
	die $frame->body unless $frame->body eq $want;
	$client->ack({ frame => $frame });
}
$client->unsubscribe({ destination => $destination });
$client->disconnect;
print "ok\n";
