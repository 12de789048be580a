# For those who want make to compare times alone: `make -f timestamps.mk` starts pgtls only when a file changed that the last build
# read. It renews nothing that comes due while no file changes: have something run `pgtls build` from time to time.
PGTLS ?= pgtls
OUT   := out

$(OUT)/manifest.json: pgtls.toml
	$(PGTLS) build pgtls.toml --out $(OUT) --depfile .pgtls.d

-include .pgtls.d
.PRECIOUS: $(OUT)/manifest.json
