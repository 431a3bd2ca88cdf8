"""Every decoder can be named: on the command line, and in a saved policy."""

import json
from pathlib import Path

import pytest
import tyro

from hone.cli.clone import Config
from hone.errors import HoneError
from hone.policies import SmallPolicyConfig
from hone.policies.heads import HEADS, EqMHeadConfig


@pytest.mark.parametrize("name", list(HEADS))
def test_every_head_is_an_option_of_clone_and_survives_its_json(name):
    config = tyro.cli(Config, args=["--demos", "d", "--output", "o", f"network.head:{name}"])
    assert type(config.network.head) is HEADS[name]
    document = json.loads(json.dumps(config.network.to_json()))
    assert document["head"]["name"] == name
    assert SmallPolicyConfig.from_json(document, "here") == config.network


def test_options_follow_the_name_and_the_default_stays():
    arguments = ["--demos", "d", "--output", "o", "--network.inputs", "state"]
    assert tyro.cli(Config, args=arguments).network.head == SmallPolicyConfig().head
    config = tyro.cli(Config, args=[*arguments, "network.head:eqm", "--network.head.steps", "7"])
    assert config.network == SmallPolicyConfig(inputs="state", head=EqMHeadConfig(steps=7))
    assert config.output == Path("o")


def test_an_unknown_head_names_the_nearest():
    document = SmallPolicyConfig().to_json()
    document["head"] = {"name": "eqn"}
    with pytest.raises(HoneError, match=r"unknown head in here 'eqn'. Did you mean 'eqm'\?"):
        SmallPolicyConfig.from_json(document, "here")
