# What a developer needs, on a machine with Python 3.11 or newer and make. `make help` lists it.

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := -m pip install --quiet --quiet --disable-pip-version-check

# What is installed is remembered by a checksum of the requirements, so a touched file installs nothing and a changed
# one does. Stamps in a venv whose interpreter is gone don't count.
$(shell $(BIN)/python -c '' 2>/dev/null || rm -f $(VENV)/.installed-*)
RUNTIME := $(VENV)/.installed-runtime-$(shell cksum < requirements/runtime.txt | tr -d ' ')
DEV := $(VENV)/.installed-dev-$(shell cksum < requirements/dev.txt | tr -d ' ')

.SUFFIXES:
.DEFAULT_GOAL := help
.PHONY: help venv dev run test lint lock messages

help: ## List these targets.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

venv: $(RUNTIME) ## Install what the server needs into .venv.

dev: $(DEV) ## Install what the tests and checks need as well.

run: $(RUNTIME) ## Serve the API, with a PostgreSQL of its own unless DATABASE_URL is set.
	@$(BIN)/python manage.py serve

test: $(DEV) ## Run the tests; make test ARGS="-k name" runs some of them.
	@$(BIN)/python -m pytest -n logical $(ARGS)

lint: $(DEV) ## Check style, types, imports, migrations and the OpenAPI document.
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy .
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py spectacular --validate --fail-on-warn --file /dev/null

messages: $(DEV) ## Collect what the admin says and compile its translations in config/locale.
	@$(BIN)/python -m config.locale.catalogue

lock: ## Pin requirements/*.in into *.txt; make lock ARGS=--upgrade takes the newest versions.
	@$(call make-venv,.venv-lock)
	@.venv-lock/bin/python $(PIP_INSTALL) pip-tools
	@cd requirements && for name in production runtime dev; do \
	  ../.venv-lock/bin/python -m piptools compile --quiet --strip-extras --no-header --no-emit-index-url \
	    --no-emit-trusted-host --no-emit-find-links --no-emit-options $(ARGS) \
	    --output-file $$name.txt $$name.in || exit 1; \
	done

# $(call make-venv,FOLDER): make the venv unless it is there, whole, and its interpreter runs.
make-venv = test ! -e $(1)/.unfinished && $(1)/bin/python -m pip --version >/dev/null 2>&1 || { \
	  command -v "$(PYTHON)" >/dev/null \
	    || { echo "There is no $(PYTHON): install Python 3.11 or newer, or name it: make PYTHON=…" >&2; exit 1; }; \
	  "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "$(PYTHON) is older than Python 3.11: install a newer one, or name it: make PYTHON=…" >&2; exit 1; }; \
	  "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null \
	    || { echo "$(PYTHON) has no venv module: install it, on Debian and Ubuntu the package python3-venv." >&2; exit 1; }; \
	  rm -rf $(1) && "$(PYTHON)" -m venv $(1); \
	}

# $(call install,NAME): bring .venv to requirements/NAME.txt. One that was interrupted is made anew the next time.
define install
	@$(call make-venv,$(VENV))
	@echo "Installing the packages of requirements/$(1).txt into $(VENV); this takes about half a minute."
	@rm -f $(VENV)/.installed-* && touch $(VENV)/.unfinished
	@$(BIN)/python $(PIP_INSTALL) --requirement requirements/$(1).txt
	@rm -f $(VENV)/.unfinished
endef

$(RUNTIME):
	$(call install,runtime)
	@touch $@

# dev.txt holds all of runtime.txt, so `make run` after it has nothing to install.
$(DEV):
	$(call install,dev)
	@touch $@ $(RUNTIME)
