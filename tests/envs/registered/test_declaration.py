"""Declarations of gymnasium environments: by options, from a file, and what is wrong with them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from point_env import ENV_ID
from test_environment import CONFIG

from hone.cli.environments import chosen_environment, environment
from hone.envs.libero.environment import LiberoConfig
from hone.envs.registered.declaration import GymConfig, GymTask
from hone.errors import HoneError
from hone.policies.small import SmallPolicyConfig
from hone.specs import Spec, SpecMismatchError, check_compatible


def test_a_declaration_from_a_file(tmp_path):
    path = tmp_path / "point.json"
    tasks = [{"name": "far", "instruction": "go far", "options": {"side": 2.0}}]
    path.write_text(json.dumps({"id": ENV_ID, "proprio": ["agent_pos"], "options": {}, "suite_tasks": tasks}))
    config = environment(f"gym:{path}")
    assert config == GymConfig(
        id=ENV_ID, proprio=("agent_pos",), suite_tasks=(GymTask("far", "go far", {"side": 2.0}),)
    )
    path.write_text(json.dumps({"id": ENV_ID, "propio": []}))
    with pytest.raises(HoneError, match=r"'propio'. Did you mean 'proprio'"):
        environment(f"gym:{path}")


def test_what_the_command_line_says():
    chosen, rest = chosen_environment(["--seed", "1", "--env", f"gym:{ENV_ID}", "--env.proprio", "agent_pos"])
    assert chosen == GymConfig(id=ENV_ID)
    assert rest == ["--seed", "1", "--env.proprio", "agent_pos"]
    assert chosen_environment(["--env=libero"]) == (LiberoConfig(), [])
    assert chosen_environment(["--env.assets", "x"]) == (None, ["--env.assets", "x"])
    with pytest.raises(HoneError, match=r"unknown environment 'gmy'. Did you mean 'gym'"):
        chosen_environment(["--env", "gmy:x"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"proprio": (), "state": ()}, r"It has agent_pos \[2\], goal \[2\], pixels.top \[24, 32, 3\]"),
        ({"proprio": ("agent_pose",)}, "unknown key of the observation 'agent_pose'. Did you mean 'agent_pos'"),
        ({"images": ("goal",)}, "which is no picture"),
        ({"id": "nobody/Has-v0"}, "gymnasium cannot make 'nobody/Has-v0'"),
        ({"options": '{"colour": 1}'}, "unexpected keyword argument 'colour'"),
        ({"idle": (0.0,)}, "idle has 1 numbers, but an action"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(change, message):
    with pytest.raises(HoneError, match=message):
        replace(CONFIG, **change).check()


@pytest.mark.parametrize("change", [{"success": "is_success"}, {"options": "{"}, {"options": "[]"}, {"step_cap": 0}])
def test_what_makes_no_sense_is_refused(change):
    with pytest.raises(HoneError):
        replace(CONFIG, **change)


def test_suites_and_tasks_that_do_not_exist():
    with pytest.raises(HoneError, match="leave --suite out"):
        CONFIG.tasks("libero_object")
    with pytest.raises(HoneError, match="has tasks 0-0, not 3"):
        CONFIG.tasks(CONFIG.suite, (3,))


def test_a_policy_is_fitted_to_the_robot_and_to_no_other():
    spec = CONFIG.spec
    state = SmallPolicyConfig(inputs="state").fitted_to(spec)
    check_compatible(state.spec, spec)
    pictures = SmallPolicyConfig(image_size=16).fitted_to(spec)
    check_compatible(pictures.spec, spec)
    for policy in (state, pictures):
        again = SmallPolicyConfig.from_json(json.loads(json.dumps(policy.to_json())), "config.json")
        assert again == policy
        with pytest.raises(SpecMismatchError, match="action_dim"):
            check_compatible(policy.spec, Spec())
    with pytest.raises(HoneError, match="no pictures"):
        SmallPolicyConfig().fitted_to(replace(CONFIG, images=()).spec)
    with pytest.raises(HoneError, match="declares no state"):
        SmallPolicyConfig(inputs="state").fitted_to(replace(CONFIG, state=()).spec)


def test_libero_stays_what_it_was():
    libero = LiberoConfig(state_tokens="objects_v1").spec
    assert SmallPolicyConfig().fitted_to(libero) == SmallPolicyConfig()
    assert SmallPolicyConfig(inputs="state").fitted_to(libero) == SmallPolicyConfig(inputs="state")
