"""Every mistake is answered by one line that names the key, the value and the way out; nothing is left behind."""

from pathlib import Path

import pytest

from tests.cli.calls import Mtl

YAMLS = {
    "backbone/misspelt.yaml": "name: cnn\nchanels: 64\ndepth: 3\nnorm: batch\n",
    "backbone/broken.yaml": "name: cnn\n  channels: [64\n",
    "task/folder.yaml": (
        "# @package _global_\ndata: {parts: {images: image_folder}}\n"
        "tasks: {a: {kind: classification, target: label}}\n"
    ),
    "task/dotty.yaml": (
        "# @package _global_\ndata: {parts: {images: digits}}\ntasks: {a.b: {kind: regression, target: slant}}\n"
    ),
    "experiment/dangling.yaml": "# @package _global_\ntrainer:\n  epochs: ${nope}\n",
    "experiment/plugged.yaml": "# @package _global_\nplugins: [os]\n",
    "experiment/resumed.yaml": "# @package _global_\nresume: there\n",
}

OWN = "--config-dir ../own "
MISTAKES = [
    # what is typed, and what the line must say
    ("trian", "trian", "did you mean train?"),
    ("backbone=cnn", "backbone=cnn", "mtl train backbone=cnn"),
    ("train --confg job", "--confg", "did you mean --cfg?"),
    ("train --sharing=hard", "--sharing=hard", "keys have no dashes: sharing=hard"),
    ("train --epochs 5", "--epochs", "keys have no dashes: epochs=VALUE"),
    ("train -v", "-v", "--version"),
    ("eval ../own", "../own", "checkpoint=../own"),
    ("eval runs/digits/1", "runs/digits/1", "checkpoint=runs/digits/1"),
    ("train --cfg jb", "--cfg jb", "did you mean job?"),
    ("train --shell-completion", "--shell-completion", "is not an option"),
    ("train --cfg", "--cfg", "missing"),
    ("train --cfg job -m", "--cfg --multirun", "choose one"),
    ("train --cfg job -p nope", "--package nope", "--cfg job"),
    ("train backbone", "backbone", "backbone=VALUE"),
    ("train =3", "=3", "KEY=VALUE"),
    (f"train {OWN}task=dotty", "a.b", "letters, digits, _ and -"),
    ("train +tasks.mean={kind:regression,target:slant}", "mean", "trainer.select"),
    ("train optimizer=sgd optimizer.momentum=0", "optimizer.nesterov=true", "optimizer.nesterov=false"),
    # groups and options
    ("train backbon=cnn", "backbon=cnn", "did you mean backbone?"),
    ("train backbone=cnnn", "backbone=cnnn", "did you mean cnn?"),
    ("train backbone=zzz", "backbone=zzz", "choose from cnn, ft_transformer, lenet, mlp, resnet18_cifar"),
    ("train backbone=null", "backbone=null", "choose from cnn, ft_transformer, lenet, mlp, resnet18_cifar"),
    ("train backbone=3", "backbone=3", "choose from cnn, ft_transformer, lenet, mlp, resnet18_cifar"),
    ("train backbone.name=x", "backbone.name=x", "choose from cnn, ft_transformer, lenet, mlp, resnet18_cifar"),
    ("train trainer=3", "trainer=3", "choose from default"),
    ("train task=digit", "task=digit", "did you mean digits?"),
    ("train scheduler=cosin", "scheduler=cosin", "did you mean cosine?"),
    ("train regularizer=l3", "regularizer=l3", "did you mean l"),
    ("train regularizer.l2.weight=1", "regularizer.l2.weight=1", "regularizer=[l2]"),
    ("train device=[cpu,cuda]", "device=[cpu,cuda]", "choose one"),
    ("train +backbone=mlp", "+backbone=mlp", "write backbone=mlp"),
    ("train head=mlp", "head=mlp", "did you mean tasks.NAME.head=mlp?"),
    ("train checkpoint=x", "checkpoint=x", "mtl eval"),
    ("train -cn nope", "--config-name nope", "--config-dir"),
    # keys
    ("train trainer.epoch=3", "trainer.epoch=3", "did you mean epochs?"),
    ("train epochs=3", "epochs=3", "did you mean trainer.epochs?"),
    ("train +foo=1", "foo=1", "mtl ls"),
    ("train +trainer.foo=1", "trainer.foo=1", "choose from accumulate"),
    ("train +sed=1", "sed=1", "did you mean seed?"),
    ("train trainer.epochs.x=1", "trainer.epochs.x=1", "trainer.epochs has no keys"),
    ("train ~tasks.nope", "~tasks.nope", "not there"),
    ("train tasks.nope=null", "tasks.nope=null", "not there"),
    ("train tasks.digit.wight=2", "tasks.digit.wight=2", "did you mean weight?"),
    ("train tasks.digitt.weight=2", "tasks.digitt.weight=2", "did you mean digit?"),
    ("train tasks.digit.head=mpl", "tasks.digit.head.name=mpl", "did you mean mlp?"),
    ("train tasks.digit.head.hidden=[3]", "tasks.digit.head.hidden=[3]", "not a key of linear"),
    ("train aggregation=cr aggregation.inner=pcgard", "aggregation.inner.name=pcgard", "did you mean pcgrad?"),
    ("train aggregation=cr aggregation.inner.evry=2", "aggregation.inner.evry=2", "did you mean every?"),
    ("train aggregation=pcgrad aggregation.inner=db", "aggregation.inner=db", "choose from every"),
    ("train tasks.digit.loss.name=mse", "tasks.digit.loss.name=mse", "take cross_entropy"),
    ("train tasks.digit.kind=binery", "tasks.digit.kind=binery", "did you mean binary?"),
    ("train tasks.digit.metrics=[acuracy]", "tasks.digit.metrics=acuracy", "did you mean accuracy?"),
    ("train tasks.digit.part=x", "tasks.digit.part=x", "choose from images"),
    ("train data.parts.images.corp=2", "data.parts.images.corp=2", "did you mean crop?"),
    ("train data.parts.image.crop=2", "data.parts.image.crop=2", "did you mean images?"),
    ("train data.parts.images=digitz", "data.parts.images.name=digitz", "did you mean digits?"),
    # values
    ("train trainer.epochs=x", "trainer.epochs=x", "expected whole number at least 1"),
    ("train trainer.epochs=1.5", "trainer.epochs=1.5", "expected whole number at least 1"),
    ("train trainer.epochs=0", "trainer.epochs=0", "expected whole number at least 1"),
    ("train trainer.epochs=null", "trainer.epochs=null", "expected whole number at least 1"),
    ("train seed=true", "seed=true", "expected whole number at least 0"),
    ("train optimizer.lr=nan", "optimizer.lr=nan", "expected a finite number"),
    ("train optimizer.lr=inf", "optimizer.lr=inf", "expected a finite number"),
    ("train data.validation=1", "data.validation=1", "at least 0 and below 1"),
    ("train data.parts.images.crop=-1", "data.parts.images.crop=-1", "expected whole number at least 0"),
    ("train trainer.precision=fp8", "trainer.precision=fp8", "expected fp32 or bf16 or fp16"),
    ("train trainer.ema=1", "trainer.ema=1", "below 1"),
    ("train trainer.select=digitt", "trainer.select=digitt", "did you mean digit?"),
    ("train scheduler=multistep scheduler.milestones=[3,-1]", "scheduler.milestones=[3, -1]", "above 0"),
    ("train name=a/b", "name=a/b", "text without slashes"),
    ("train tasks=3", "tasks=3", "mtl ls task"),
    ("train tasks.digit=3", "tasks.digit=3", "choose from binary, classification, multilabel, regression"),
    ("train data=null", "data=null", "mtl ls data"),
    ("train trainer.epochs=[1", "trainer.epochs=[1", "in quotes"),
    ("train seed=1,2", "seed=1,2", "add -m"),
    ("train seed=${nope}", "seed=${nope}", "a key that is there"),
    ("train seed=${oc.env:MTL_NOPE}", "seed=${oc.env:MTL_NOPE}", "MTL_NOPE' not found"),
    # what is missing
    ("train --config-dir nowhere", "--config-dir nowhere", "name a folder"),
    ("train resume=nowhere", "resume=nowhere", "name a run's directory"),
    ("train init_from=nowhere", "init_from=nowhere", "checkpoint folder"),
    ("train resume=../own", "resume=../own", "not a run"),
    ("eval checkpoint=nowhere", "checkpoint=nowhere", "checkpoint folder"),
    ("eval checkpoint=../ow", "checkpoint=../ow", "did you mean ../own?"),
    ("eval checkpoint=../own", "checkpoint=../own", "name a run's directory"),
    ("eval", "checkpoint=???", "mtl eval checkpoint=RUN"),
    ("train plugins=[mtl_nope]", "plugins=[mtl_nope]", "No module named"),
    ("train plugins=[json]", "plugins=[json]", "TABLE_LINES"),
    # in a user's YAML
    (f"train {OWN}backbone=misspelt", "backbone.chanels=64", "did you mean channels?"),
    (f"train {OWN}backbone=broken", "broken.yaml, line 2", "mapping values"),
    (f"train {OWN}task=folder", "data.parts.images.path=???", "the folder or zip file"),
    (f"train {OWN}experiment=dangling", "trainer.epochs", "'nope'"),
    (f"train {OWN}experiment=plugged", "plugins=[os]", "say it here: plugins=[os]"),
    (f"train {OWN}experiment=resumed", "resume=there", "mtl train resume=there"),
    # sweeps and ls
    ("train -m backbone=cnn,cnnn", "backbone=cnnn", "did you mean cnn?"),
    ("train -m trainer.epochs=0", "trainer.epochs=0", "expected whole number at least 1"),
    ("train -m run_dir=x seed=1,2", "run_dir=x", "runs_dir="),
    ("train -m resume=x", "resume=x", "one run after the other"),
    ("eval -m checkpoint=a,b", "checkpoint=a,b", "one checkpoint at a time"),
    ("ls shring", "group=shring", "did you mean sharing?"),
    ("ls sharing backbone", "sharing backbone", "one group at a time"),
    ("ls -m sharing", "--multirun", "leave it out"),
]


@pytest.mark.parametrize(("line", "names", "way_out"), MISTAKES, ids=[line for line, _, _ in MISTAKES])
def test_a_mistake_is_answered_in_one_line_with_exit_code_2_and_leaves_nothing(
    mtl: Mtl, tmp_path: Path, line: str, names: str, way_out: str
) -> None:
    for name, text in YAMLS.items():
        file = tmp_path / "own" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    before = sorted(tmp_path.rglob("*"))

    answer = mtl(*line.split())

    assert answer.code == 2
    assert answer.err.startswith("mtl: ")
    assert answer.err.endswith("\n")
    assert answer.err.count("\n") == 1
    assert names in answer.err
    assert way_out in answer.err
    assert answer.out == ""
    assert answer.jobs == []
    assert sorted(tmp_path.rglob("*")) == before
