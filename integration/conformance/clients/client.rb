# The stomp gem, in its three versions: ruby client.rb HOST PORT QUEUE
require 'stomp'

host, port, queue = ARGV
%w[1.0 1.1 1.2].each do |version|
  headers = version == '1.0' ? {} : { 'accept-version' => version, 'host' => '/' }
  client = Stomp::Connection.new(
    hosts: [{ login: 'guest', passcode: 'guest', host: host, port: port.to_i }], connect_headers: headers, reliable: false
  )
  destination = "/queue/#{queue}.#{version}"
  client.subscribe(destination, { 'id' => '1', 'ack' => 'client' }, '1')
  client.begin('t')
  client.publish(destination, 'aborted', { 'transaction' => 't' })
  client.abort('t')
  client.begin('t')
  client.publish(destination, "com\\mit:ted", { 'transaction' => 't', 'persistent' => 'true' })
  client.commit('t')
  message = client.receive
  raise message.inspect unless message.body == "com\\mit:ted"
  case version
  when '1.0' then client.ack(message.headers['message-id'])
  when '1.1' then client.ack(message.headers['message-id'], { 'subscription' => '1' })
  else client.ack(message.headers['ack'])
  end
  client.unsubscribe(destination, { 'id' => '1' }, '1')
  client.disconnect
end
puts 'ok'
