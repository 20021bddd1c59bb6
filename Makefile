.PHONY: proto
VENV ?= .venv
PY := $(VENV)/bin/python
PROTOC := $(PY) -m grpc_tools.protoc -Iproto --plugin=protoc-gen-mypy_grpc=$(VENV)/bin/protoc-gen-mypy_grpc
proto: ## regenerate the stubs under proto/slacktide/v1
	$(PROTOC) --python_out=proto --pyi_out=proto proto/slacktide/v1/*.proto
	$(PROTOC) --grpc_python_out=proto --mypy_grpc_out=quiet:proto proto/slacktide/v1/*_service.proto
