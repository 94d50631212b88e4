#!/usr/bin/env bash
# Installs what "make test" needs besides Go, and says so first. What is there already is left alone.
# "install.sh suites" installs also what the suites of client libraries need that "make conformance-amqp" runs.
set -euo pipefail
cd "$(dirname "$0")"

fail() {
	echo "install: $*" >&2
	exit 1
}

# command that must be there : Debian package that has it
needed="gcc:gcc openssl:openssl mosquitto_pub:mosquitto-clients amqp-publish:amqp-tools node:nodejs npm:npm"

# file that must be there : Debian package that has it. The modules of Python are for Debian's own interpreter, which need not
# be the first in the path.
files="/usr/include/stdlib.h:libc6-dev /usr/lib/python3/dist-packages/celery:python3-celery" # the race detector links against the C library

if [ "${1:-}" = suites ]; then
	needed+=" cmake:cmake make:make php:php-cli phpunit:phpunit phpize:php-dev rspec:ruby-rspec-core javac:default-jdk-headless"
	for module in pytest tornado twisted gevent nose pamqp yarl; do
		files+=" /usr/lib/python3/dist-packages/$module:python3-$module"
	done
	files+=" /usr/lib/python3/dist-packages/pytest_asyncio:python3-pytest-asyncio"
	for module in mbstring bcmath xml curl; do
		files+=" /usr/share/doc/php-$module:php-$module"
	done
	for jar in amqp-client:librabbitmq-client-java slf4j-api:libslf4j-java junit4:junit4 mockito-core:libmockito-java assertj-core:libassertj-core-java metrics-core:libdropwizard-metrics-java; do
		files+=" /usr/share/java/${jar%%:*}.jar:${jar##*:}"
	done
	for gem in rspec amq-protocol sorted-set; do
		files+=" /usr/share/doc/ruby-$gem:ruby-$gem"
	done
	files+=" /usr/share/php/phpseclib3/autoload.php:php-phpseclib3 /usr/include/amqp.h:librabbitmq-dev"
fi

packages=()
for each in $needed; do
	command -v "${each%%:*}" >/dev/null || packages+=("${each##*:}")
done
for each in $files; do
	[ -e "${each%%:*}" ] || packages+=("${each##*:}")
done

if [ ${#packages[@]} -gt 0 ]; then
	echo "install: apt-get install ${packages[*]}"
	command -v apt-get >/dev/null || fail "there is no apt-get here; install by hand what provides: ${packages[*]}"
	as_root=()
	if [ "$(id -u)" -ne 0 ]; then
		command -v sudo >/dev/null || fail "neither root nor sudo; have somebody run: apt-get install ${packages[*]}"
		as_root=(sudo)
	fi
	export DEBIAN_FRONTEND=noninteractive
	"${as_root[@]}" apt-get update -qq || fail "apt-get update failed"
	"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${packages[@]}" || fail "apt-get install failed"
	for each in $needed; do
		command -v "${each%%:*}" >/dev/null || fail "${each##*:} is installed and ${each%%:*} is not there"
	done
fi

[ "$(node -p 'parseInt(process.versions.node)')" -ge 18 ] || fail "node is $(node --version); amqplib needs 18 or later"

if [ ! -e node/node_modules/.package-lock.json ] || [ node/package-lock.json -nt node/node_modules/.package-lock.json ]; then
	echo "install: npm ci in integration/node ($(sed -n '/dependencies/,/}/s/ *"\(.*\)": "\(.*\)".*/\1 \2/p' node/package.json | paste -sd,))"
	(cd node && npm ci --no-audit --no-fund --loglevel=error) || fail "npm ci failed"
	touch node/node_modules/.package-lock.json
fi

echo "install: everything is there; modules of Go are fetched as they are needed"
