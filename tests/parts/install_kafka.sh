#!/usr/bin/env bash
# Put the jars of a real Apache Kafka 4.x where the tests find them; print their folder. Needs Java >= 17 and Maven.
#
# Asks Maven, as it is configured on this machine, for the versions below, newest first; takes the first it can have.
# Outside the tree, about 45 MB. The second run prints and ends; runs at the same time wait for each other.
set -euo pipefail

VERSIONS=(${HEARTH_KAFKA_VERSIONS:-4.4.0 4.3.1 4.2.1 4.1.2 4.0.2})
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/hearth

print_installed() {
    for version in "${VERSIONS[@]}"; do
        if [[ -f $CACHE/kafka-$version/complete ]]; then
            echo "$CACHE/kafka-$version"
            return 0
        fi
    done
    return 1
}

has_java() {
    local version
    version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
    [[ -n $version && $version -ge 17 ]]
}

install_tools() {
    if has_java && command -v mvn >/dev/null; then return 0; fi
    if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
        echo "Java >= 17 and Maven are missing, and only root can install them" >&2
        return 1
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends openjdk-17-jre-headless maven >&2
}

fetch() { # version, folder
    cat >"$2/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>hearth.tests</groupId><artifactId>kafka-jars</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$1</version></dependency>
  </dependencies>
</project>
POM
    mvn --quiet --batch-mode -Dstyle.color=never --file "$2/pom.xml" dependency:copy-dependencies \
        -DoutputDirectory="$2/jars" -DincludeScope=runtime >"$2/mvn.log" 2>&1
}

if print_installed; then exit 0; fi
mkdir -p "$CACHE"
exec 9>"$CACHE/kafka.lock"
flock 9
if print_installed; then exit 0; fi
install_tools

unfinished=$(mktemp -d "$CACHE/kafka-unfinished.XXXXXX")
trap 'rm -rf "$unfinished"' EXIT
for version in "${VERSIONS[@]}"; do
    rm -rf "$unfinished/jars"
    if fetch "$version" "$unfinished"; then
        touch "$unfinished/complete"
        rm -rf "$CACHE/kafka-$version"
        mv "$unfinished" "$CACHE/kafka-$version"
        echo "$CACHE/kafka-$version"
        exit 0
    fi
    echo "Kafka $version cannot be had: $(grep -m 1 ERROR "$unfinished/mvn.log" | cut -c 1-240 || true)" >&2
done
exit 1
