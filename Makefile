.PHONY: setup run stack stack-down demo test chaos bench check

setup:            ## install what is needed
	@bin/setup

run: setup        ## the whole program with its sample platform, in the browser
	@bin/with python -m demo run

stack: setup      ## the local servers, migrated and seeded; addresses in .run/stack.json
	@bin/with python -m demo.stack up

stack-down:       ## end what `make stack` started
	@bin/with python -m demo.stack down

demo: setup       ## an erasure from request to certificate, and a tenant moved under load, watched
	@bin/with python -m demo prove

test: setup       ## the tests
	@bin/test

chaos: setup      ## the long trials
	@LIFECYCLE_RUN_DIR=$(CURDIR)/.run/chaos bin/with pytest -m chaos --timeout 3600

bench: setup      ## speed beside the best raw tools
	@bin/with python -m bench

check: setup      ## linters, types, imports, templates, migrations, deployment
	@bin/check
