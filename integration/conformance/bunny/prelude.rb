# Loaded before the specs of bunny: they take the broker and its management API to be on the ports of a fresh RabbitMQ.
require "json"
require "net/http"
require "amq/protocol/client"
require "amq/uri"

# The port under test is that where no other is asked for.
port = Integer(ENV.fetch("CONFORMANCE_AMQP_PORT"))
{ AMQ::Protocol => [:DEFAULT_PORT, port], AMQ::URI => [:AMQP_DEFAULT_PORTS, { "amqp" => port, "amqps" => 5671 }] }.each do |of, (name, value)|
  of.send(:remove_const, name)
  of.const_set(name, value)
end

# As much of the client of RabbitMQ's HTTP API as the specs use.
module RabbitMQ
  module HTTP
    class Client
      Item = Struct.new(:fields) do
        def [](name) = fields[name]
        def name = fields["name"]
        def peer_port = fields["peer_port"]
      end

      def initialize(*) = @api = URI("http://#{ENV.fetch("CONFORMANCE_HTTP")}/")

      def list_connections = list("api/connections")
      def list_queues = list("api/queues")
      def list_exchanges(vhost) = list("api/exchanges/#{URI.encode_www_form_component(vhost)}")
      def list_channels = list_connections.flat_map { |c| [c] * c["channels"] }

      def close_connection(name)
        ask(Net::HTTP::Delete, "api/connections/#{URI.encode_www_form_component(name).gsub("+", "%20")}")
      end

      private

      def list(path) = JSON.parse(ask(Net::HTTP::Get, path).body).map { |fields| Item.new(fields) }

      def ask(method, path)
        request = method.new(URI.join(@api, path))
        request.basic_auth("guest", "guest")
        answer = Net::HTTP.start(@api.host, @api.port) { |http| http.request(request) }
        raise "#{path}: #{answer.code} #{answer.body}" unless answer.is_a?(Net::HTTPSuccess)
        answer
      end
    end
  end
end
$LOADED_FEATURES << "rabbitmq/http/client.rb"
