#!/usr/bin/env bash
# What to do with a GPU that is at hand for ten minutes, on a machine without a package index: three parts, nine
# minutes in all, each with its own budget. A part that fails does not keep the later ones from running.
#
#   tools/on_accelerator.sh pack DATA_DIR                 here, before: what has to travel, into .accelerator/
#   tools/on_accelerator.sh OUT [RECIPE [KEY=VALUE ...]]  there: tests, step, train; results into the empty folder OUT
#   tools/on_accelerator.sh --dry-run OUT                 the same at toy size on the CPU, without pack
#
#   tests   pytest -m cuda: certify, compare and train against the CPU               at most 150 s
#   step    the training step of LiResNet L12 W512 in bf16, into step.json           at most  60 s
#   train   lip train RECIPE until 30 s before the end                               the rest of 540 s
#
# Exit status, a sum: 1 tests failed, 2 step failed, 4 train failed, 8 a file of the run was too large to come back;
# 64 bad usage. OUT/summary.txt says the same in words, OUT/log.txt has all output.
#
# The machine: x86-64, Python 3.12 (else PACK_PYTHON=3.N before `pack`) with PyTorch, NumPy, Pillow, pytest and the
# other usual packages; the working tree, .accelerator/ and nothing else. In transfers of at most 64 MiB, without a pause
# (a machine that was given back in between has lost the earlier ones):
#   1st call  the tree, .accelerator/site and .accelerator/images/1    command: true
#   2nd call  .accelerator/images/2                                    command: true
#   3rd call  .accelerator/images/3                                    command: tools/on_accelerator.sh "$OUT"
# At most 8 files of 16 MiB come back. The run comes as run.tar.aa, .ab, ...; to go on another time, put it back with
#   mkdir -p runs/accelerator && cat OUT/run.tar.* | tar -x -C runs/accelerator
# let runs/accelerator travel too, and give the same recipe: a checkpoint there is resumed.
#
# Environment: PARTS="tests step train" which parts; IMAGES=.accelerator/images sprites or CIFAR-10's own files;
# RUN=runs/accelerator the run; RETURN_MIB=60 what may come back of it; BUDGET=540 seconds in all; PYTHON which one.
#
# The default recipe is as large as fits: a checkpoint has 12 bytes per parameter with AdamW, 16 with Lookahead, so
# at most 5 M parameters come back. `cifar10` (L12 W512, 83 M) can be trained, but only its figures return.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 64
carried=$PWD/.accelerator
MEDIUM=(cifar10_small model.depth=12 model.width=128 batch_size=256 epochs=80 name=cifar10_medium)
STEP=(--architecture liresnet --depth 12 --width 512 --dense-width 512 --batch 256 --seconds 10)
TOY=(cifar10_small model.depth=1 model.width=4 model.dense_width=8 model.dense_depth=1 epochs=1 batch_size=32)
TOY_STEP=(--architecture liresnet --depth 1 --width 4 --dense-width 8 --batch 4 --seconds 0.1 --threads 1)
# Needed and not among a PyTorch image's usual packages.
MISSING=(pydantic pydantic-core annotated-types typing-inspection typing-extensions pyautoattack pytorch-optimizer)

die() { echo "on_accelerator: $*" >&2; exit 64; }
say() { echo "$*" | tee -a "$out/summary.txt"; }

python=${PYTHON:-.venv/bin/python}
if [[ ! -x $python ]]; then
	python=python3
	export PYTHONPATH=$PWD:$PWD/adapters:$carried/site
fi
export PYTHONUNBUFFERED=1

pack() { # the project itself is installed for its entry points alone: its files are those of the working tree
	local uv
	uv=$(command -v uv || echo .venv-uv/bin/uv)
	rm -rf "$carried"
	"$uv" pip install --quiet --target "$carried/site" --python-platform x86_64-manylinux_2_28 \
		--python-version "${PACK_PYTHON:-3.12}" --only-binary :all: --no-binary lip-plugin --no-deps \
		--constraints constraints.txt "${MISSING[@]}" --editable . || die "the packages could not be had"
	rm -rf "$carried"/site/{bin,_lip_plugin.pth,pyautoattack/examples}
	"$python" tools/cifar_sprites.py pack "$1" "$carried/images" || die "the images could not be packed"
	du -sm "$carried"/site "$carried"/images/*
}

part() { # NAME STATUS SECONDS COMMAND...: 124 is a command that was stopped at the end of its time
	local name=$1 status=$2 budget=$3 left=$((deadline - SECONDS)) started=$SECONDS result
	shift 3
	((budget < left)) || budget=$left
	printf '\n== %s: %s\n' "$name" "$*" >>"$out/log.txt"
	if ((budget > 0)); then timeout --kill-after=15 "$budget" "$@" >>"$out/log.txt" 2>&1; else false; fi
	result=$?
	if ((result == 0)); then
		say "$name: done in $((SECONDS - started)) s"
	elif ((result == 124)) && [[ $name == train && -f $run/checkpoint.pt ]]; then
		say "$name: not finished after $((SECONDS - started)) s; the checkpoint is kept, go on another time"
	else
		failed=$((failed | status))
		say "$name: FAILED with $result after $((SECONDS - started)) of $budget s, see log.txt"
	fi
}

toy_images() { # DIR: 120 noisy images in CIFAR-10's own files, there and back as sprites
	"$python" - "$1" <<-'END'
		import sys, numpy as np, pathlib
		folder = pathlib.Path(sys.argv[1], "own")
		folder.mkdir(parents=True)
		for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
		    records = np.random.default_rng(0).integers(0, 256, (20, 3073), np.uint8)
		    records[:, 0] = np.arange(20) % 10
		    records.tofile(folder / f"{name}.bin")
	END
	"$python" tools/cifar_sprites.py pack "$1/own" "$1/sprites" --parts 2
}

train() {
	local data=$IMAGES resume=()
	if compgen -G "$IMAGES/*/labels.npy" >/dev/null; then
		data=$scratch/data
		part images 4 60 "$python" tools/cifar_sprites.py unpack "$IMAGES" "$data"
	fi
	if [[ -f $run/checkpoint.pt ]]; then resume=(--resume) && say "train: goes on from a checkpoint"; fi
	part train 4 $((deadline - SECONDS - 30)) "$python" -c 'from lip_plugin.cli import main; main()' train "${recipe[@]}" \
		data_dir="$data" device="$device" checkpoint_seconds=30 --out "$run" "${resume[@]}"
	bring_back
}

bring_back() { # small files first, then what fits
	local name room=$((${RETURN_MIB:-60} << 20)) size files=()
	for name in config.yaml metrics.csv card.json report.json points.csv model.safetensors checkpoint.pt; do
		[[ -f $run/$name ]] || continue
		size=$(($(stat -c %s "$run/$name") + 20480)) # and what tar puts around it
		if ((size <= room)); then
			files+=("$name") && room=$((room - size))
		else
			failed=$((failed | 8)) && say "run: $name is too large to come back ($size bytes, room for $room)"
		fi
	done
	((${#files[@]})) || return
	tar -c -C "$run" "${files[@]}" | split -b 15M - "$out/run.tar." || failed=$((failed | 8))
	say "run: ${files[*]}; join with: cat run.tar.* | tar -x -C DIR"
}

device=cuda
[[ ${1:-} == --dry-run ]] && device=cpu && shift
(($#)) || die "give pack DATA_DIR, OUT or --dry-run OUT; the head of this file says more"
if [[ $1 == pack ]]; then
	(($# == 2)) || die "pack takes DATA_DIR, a folder with CIFAR-10's own files"
	pack "$2"
	exit
fi
for name in ${PARTS:=tests step train}; do
	[[ " tests step train " == *" $name "* ]] || die "no part $name; known: tests step train"
done
{ mkdir -p "$1" && out=$(cd "$1" && pwd); } || die "OUT cannot be made: $1"
[[ -z $(ls -A "$out") ]] || die "OUT is not empty: $out"
shift
recipe=("$@")
deadline=$((SECONDS + ${BUDGET:-540})) failed=0
scratch=$(mktemp -d) && trap 'rm -rf "$scratch"' EXIT
if [[ $device == cpu ]]; then
	export OMP_NUM_THREADS=1 # several are slower on toys
	MEDIUM=("${TOY[@]}") STEP=("${TOY_STEP[@]}") run=${RUN:-$scratch/run}
	[[ -n ${IMAGES:-} ]] || { toy_images "$scratch/toy" && IMAGES=$scratch/toy/sprites; } || die "no toy images"
	say "DRY RUN on the CPU: the tests of CUDA are skipped, the figures mean nothing"
else
	run=${RUN:-runs/accelerator} IMAGES=${IMAGES:-.accelerator/images}
	"$python" -c 'import lip_plugin.train.config' || die "packages are missing; has .accelerator/site come along?"
	"$python" -c 'import torch; raise SystemExit(not torch.cuda.is_available())' || die "no CUDA device; see --dry-run"
fi
((${#recipe[@]})) || recipe=("${MEDIUM[@]}")
for name in $PARTS; do
	case $name in
	tests) part tests 1 150 "$python" -m pytest -q -m cuda -p no:cacheprovider -W default tests/cuda ;;
	step) part step 2 60 "$python" benchmarks/training_step.py "${STEP[@]}" --device "$device" --steps "ours bfloat16" \
		--json "$out/step.json" ;;
	train) train ;;
	esac
done
say "exit status $failed"
exit "$failed"
