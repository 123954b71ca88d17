"""Who decides: strategy parameters, members, the vote, the order plan, the bundle format, the registry.

A council is asked with the full feature vector of a bar and answers with a side and the plan parameters of the members
that approve. It is kept as a folder of plain text and found through the model registry.

This room never trains, never looks at outcomes, never sends an order, and never runs code that came with a model.
"""

from council._version import ModelVersionInfo
from council.bundle import COUNCIL_FILE, SCHEMA, content_hash, load_bundle, save_bundle
from council.manifest import Manifest, TrainingProfile
from council.plan import DIRECTIONAL, LONG, PASSIVE, SHORT, OrderPlan, StrategyParams, make_plan, plan_prices
from council.registry import Registry
from council.trees import TreeModel
from council.voting import Council, Decision, Decisions, Member, MemberVote, count_votes

__all__ = [
    "COUNCIL_FILE",
    "DIRECTIONAL",
    "LONG",
    "PASSIVE",
    "SCHEMA",
    "SHORT",
    "Council",
    "Decision",
    "Decisions",
    "Manifest",
    "Member",
    "MemberVote",
    "ModelVersionInfo",
    "OrderPlan",
    "Registry",
    "StrategyParams",
    "TrainingProfile",
    "TreeModel",
    "content_hash",
    "count_votes",
    "load_bundle",
    "make_plan",
    "plan_prices",
    "save_bundle",
]
