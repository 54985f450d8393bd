#!/usr/bin/env bash
# Put helm, kubeconform and the schemas of Kubernetes, KubeRay and the Prometheus operator where the tests find them;
# print their folder. Needs Go and Python's uv (UV names it).
#
# Asks Go and PyPI, as they are configured on this machine, for the versions below; of KubeRay the newest it can have.
# Outside the tree, about 400 MB while it builds. The second run prints and ends; runs at the same time wait for each other.
set -euo pipefail

HELM=v3.22.0
KUBECONFORM=v0.7.0
KUBERNETES_SCHEMAS=1.37.0
KUBERAY=(${HEARTH_KUBERAY_VERSIONS:-v1.7.0 v1.5.0})
PROMETHEUS_OPERATOR=v0.87.1
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/hearth
TARGET=$CACHE/kube-tools-$HELM-$KUBECONFORM-$KUBERNETES_SCHEMAS-$PROMETHEUS_OPERATOR
UV=${UV:-uv}

if [[ -f $TARGET/complete ]]; then echo "$TARGET"; exit 0; fi
mkdir -p "$CACHE"
exec 9>"$CACHE/kube-tools.lock"
flock 9
if [[ -f $TARGET/complete ]]; then echo "$TARGET"; exit 0; fi
command -v go >/dev/null || { echo "Go is missing" >&2; exit 1; }

unfinished=$(mktemp -d "$CACHE/kube-tools-unfinished.XXXXXX")
trap 'rm -rf "$unfinished"' EXIT
GOBIN=$unfinished/bin GOFLAGS=-p=2 go install "github.com/yannh/kubeconform/cmd/kubeconform@$KUBECONFORM" >&2
GOBIN=$unfinished/bin GOFLAGS=-p=2 go install "helm.sh/helm/v3/cmd/helm@$HELM" >&2
"$UV" pip install --quiet --no-deps --target "$unfinished/schemas" "kubernetes-validate==$KUBERNETES_SCHEMAS" >&2

module_folder() { # module@version
    (cd "$unfinished" && go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
}

mkdir "$unfinished/crds"
for version in "${KUBERAY[@]}"; do
    folder=$(module_folder "github.com/ray-project/kuberay/ray-operator@$version" || true)
    if [[ -n $folder ]]; then
        install -m 644 "$folder/config/crd/bases/ray.io_rayclusters.yaml" "$unfinished/crds/"
        echo "$version" >"$unfinished/kuberay-version"
        break
    fi
    echo "KubeRay $version cannot be had" >&2
done
[[ -f $unfinished/kuberay-version ]] || exit 1
folder=$(module_folder "github.com/prometheus-operator/prometheus-operator@$PROMETHEUS_OPERATOR" || true)
if [[ -n $folder ]]; then
    install -m 644 "$folder"/example/prometheus-operator-crd/monitoring.coreos.com_{servicemonitors,prometheusrules}.yaml \
        "$unfinished/crds/"
else
    echo "the Prometheus operator $PROMETHEUS_OPERATOR cannot be had" >&2
fi
touch "$unfinished/complete"
mv "$unfinished" "$TARGET"
echo "$TARGET"
