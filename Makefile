# make run    the proxy with two demo backends, on 127.0.0.1:8080
# make test   everything that must hold before a change lands
# make test-long   the long forms of tests that "make test" runs in short
# make bench  what a request costs, beside nginx and others (a quick look:
#             make bench ROUNDS=1 ONLY=small_get PROXIES=nginx,hipache)
# make compare-conformance   who holds what of the tables of requests, answers and frames: ours,
#             nginx, haproxy, and for HTTP/2 nghttpx and caddy
# make fuzz   hostile bytes for everything that reads bytes, for an hour
#             (MINUTES=10 for less; what was learnt is kept in .fuzz and gone on from)
# make soak   three million requests of every kind through one worker
#             (REQUESTS=100000 for less)
# make chaos  two proxies on one Redis while all around them breaks, for ten minutes
#             (SECONDS=40 for less; SEED=7 for the faults of that run again)
# make autobahn   Autobahn's WebSocket cases, directly and through the proxy
#             (an hour; some of them: make autobahn CASES=1.*,7.*; MESSAGES=100
#             sends 100 messages in a case of compression, where Autobahn has 1,000)
# make docs   the site of docs/, in build/site: open build/site/index.html
# make dist   wheel and sdist in dist/, checked, and installed in an empty environment of each
#             Python that is here (PYTHONS=... names others). URL=https://... is where people see
#             the repository: README's links then lead there, to REF=v1.0.0 of it, or to HEAD
# make deb    a Debian package of it in dist/
# Each installs what it needs into .venv first; PYTHON=... chooses the interpreter.

BIN := .venv/bin
PYTHONS := python3.11 python3.12 python3.13

.PHONY: run test test-long lint compiled bench fuzz soak chaos autobahn compare-conformance docs dist deb clean
MAKEFLAGS += --no-print-directory

run: .venv/run.installed
	@exec $(BIN)/hipache demo

test: lint compiled
	$(BIN)/python -m pytest -q -n 3 --dist worksteal

test-long: .venv/test.installed compiled
	$(BIN)/python -m pytest -q -m long --long

# The tests start the program hundreds of times. Where PYTHONDONTWRITEBYTECODE is set, each
# start would compile all of it again.
compiled: .venv/test.installed
	@$(BIN)/python -m compileall -q app bench tests

lint: .venv/test.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tests.prose
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec compose.yml
	$(BIN)/kubernetes-validate --quiet --strict packaging/kubernetes/hipache.yaml
	$(BIN)/hadolint --ignore DL3059 Dockerfile
	@$(MAKE) docs

bench: .venv/bench.installed
	$(BIN)/python -m bench.compare $(if $(ROUNDS),--rounds $(ROUNDS)) \
	  $(if $(ONLY),--only $(ONLY)) $(if $(PROXIES),--proxies $(PROXIES))

compare-conformance: .venv/test.installed
	$(BIN)/python -m tests.conformance.compare
	$(BIN)/python -m tests.conformance.http2.compare

fuzz: .venv/fuzz.installed
	$(BIN)/python -m tests.fuzz $(if $(MINUTES),--minutes $(MINUTES))

soak: .venv/test.installed
	$(BIN)/python -m bench.soak $(if $(REQUESTS),--requests $(REQUESTS))

chaos: .venv/test.installed
	$(BIN)/python -m bench.chaos $(if $(SECONDS),--seconds $(SECONDS)) \
	  $(if $(SEED),--seed $(SEED))

autobahn: .venv/test.installed
	$(BIN)/python -m tests.websocket.autobahn '$(CASES)' $(MESSAGES)

# Strict: a link or an anchor that leads nowhere and a page outside the navigation are errors.
docs: .venv/test.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir build/site

dist: .venv/dist.installed
	rm -rf dist build/release
	$(BIN)/python -m build --outdir dist
	@if [ -n "$(URL)" ]; then \
	  mkdir -p build/release && tar -xzf dist/*.tar.gz -C build/release --strip-components=1 && \
	  $(BIN)/python packaging/release/addresses.py build/release '$(URL)' $(REF) && \
	  rm dist/* && $(BIN)/python -m build --outdir dist build/release || exit 1; \
	else \
	  echo "README's links are relative: for a package index, make dist URL=https://..."; \
	fi
	$(BIN)/python -m twine check --strict dist/*
	@for python in $(BIN)/python $(PYTHONS); do \
	  $$python -c 'import ensurepip, venv' 2>/dev/null || { echo "no $$python here"; continue; }; \
	  rm -rf build/empty && $$python -m venv build/empty && \
	  build/empty/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl && \
	  (cd build/empty && bin/hipache version && bin/hipache init && bin/hipache check >/dev/null) \
	    || exit 1; \
	done

deb: dist
	packaging/debian/build dist/*.whl dist

clean:
	rm -rf .venv build dist  # .hipache stays: routes live there

.venv/run.installed: EXTRAS := acme,embedded,http2
.venv/test.installed: EXTRAS := embedded,http2,test
.venv/bench.installed: EXTRAS := bench,http2
.venv/dist.installed: EXTRAS := dist
.venv/fuzz.installed: EXTRAS := test,fuzz
.venv/%.installed: pyproject.toml | $(BIN)/pip
	@echo "Installing into .venv ($(EXTRAS)) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS)]'
	@touch $@

# An interpreter may be found and yet not run (a pyenv shim), or run without
# ensurepip (Debian splits it off): so each is asked, and the first that can is taken.
$(BIN)/pip:
	@for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    if $$python -c 'import ensurepip, venv' 2>/dev/null; then \
	      exec $$python -m venv .venv; \
	    fi; \
	    unusable=$$python; \
	  fi; \
	done; \
	if [ -n "$$unusable" ]; then \
	  echo "$$unusable has no venv. On Debian and Ubuntu: apt-get install python3-venv" >&2; \
	else \
	  echo "Python 3.11 or later is needed, and none was found. Try: make PYTHON=/path/to/python3" >&2; \
	fi; \
	exit 1
