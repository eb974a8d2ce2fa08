"""Everything of flwr that is relied on and that flwr does not promise: where it is, and its exact shape.

flwr is pinned. When the pin moves, this file says what to look at before anything else does.
"""

import ast
import importlib
import importlib.metadata
import inspect
import os
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import pytest

import fedpriv
from fedpriv import flower_wire
from fedpriv.coordinator import control
from fedpriv.coordinator import flower as coordinator_side
from fedpriv.errors import ProtocolRefused
from fedpriv.node import flower as node_side
from fedpriv.secagg.messages import Envelope, Stage

PACKAGE = Path(fedpriv.__file__).parent
EDGES = {
    PACKAGE / "flower_wire.py",
    PACKAGE / "node" / "flower.py",
    PACKAGE / "coordinator" / "flower.py",
    PACKAGE / "coordinator" / "control.py",
}

# Of functions and classes the parameters, in order; None for constants and messages.
RELIED_ON = {
    "flwr.client.grpc_rere_client.connection": None,
    "flwr.common.Array": ["args", "dtype", "shape", "stype", "data", "ndarray", "torch_tensor"],
    "flwr.common.ArrayRecord": ["args", "numpy_ndarrays", "torch_state_dict", "array_dict", "keep_input"],
    "flwr.common.ConfigRecord": ["config_dict", "keep_input"],
    "flwr.common.Message": [
        "args",
        "dst_node_id",
        "message_type",
        "content",
        "error",
        "ttl",
        "group_id",
        "reply_to",
        "metadata",
    ],
    "flwr.common.RecordDict": ["records", "parameters_records", "metrics_records", "configs_records"],
    "flwr.common.constant.Status": None,
    "flwr.common.grpc.create_channel": [
        "server_address",
        "insecure",
        "root_certificates",
        "max_message_length",
        "interceptors",
    ],
    "flwr.common.retry_invoker.RetryInvoker": [
        "wait_gen_factory",
        "recoverable_exceptions",
        "max_tries",
        "max_time",
        "on_success",
        "on_backoff",
        "on_giveup",
        "jitter",
        "should_giveup",
        "wait_function",
    ],
    "flwr.common.retry_invoker.exponential": ["base_delay", "multiplier", "max_delay"],
    "flwr.common.retry_invoker.wrap_stub": ["stub", "retry_invoker"],
    "flwr.common.serde.message_to_proto": ["message"],
    "flwr.common.serde.recorddict_from_proto": ["recorddict_proto"],
    "flwr.proto.appio_pb2.PullAppMessagesRequest": None,
    "flwr.proto.appio_pb2.PushAppMessagesRequest": None,
    "flwr.proto.control_pb2.ListNodesRequest": None,
    "flwr.proto.control_pb2.ListRunsRequest": None,
    "flwr.proto.control_pb2.RegisterNodeRequest": None,
    "flwr.proto.control_pb2.StartRunRequest": None,
    "flwr.proto.control_pb2.StopRunRequest": None,
    "flwr.proto.control_pb2.UnregisterNodeRequest": None,
    "flwr.proto.control_pb2_grpc.ControlStub": ["channel"],
    "flwr.proto.fab_pb2.Fab": None,
    "flwr.proto.fleet_pb2.ActivateNodeRequest": None,
    "flwr.proto.fleet_pb2.ActivateNodeResponse": None,
    "flwr.proto.fleet_pb2.DeactivateNodeRequest": None,
    "flwr.proto.fleet_pb2.PushMessagesRequest": None,
    "flwr.proto.fleet_pb2_grpc.FleetStub": ["channel"],
    "flwr.proto.message_pb2.ConfirmMessageReceivedRequest": None,
    "flwr.proto.message_pb2.Message": None,
    "flwr.proto.message_pb2.ObjectTree": None,
    "flwr.proto.message_pb2.PullObjectRequest": None,
    "flwr.proto.node_pb2.Node": None,
    "flwr.proto.node_pb2.NodeInfo": None,
    "flwr.proto.recorddict_pb2.RecordDict": None,
    "flwr.proto.run_pb2.RunStatus": None,
    "flwr.proto.run_pb2.UpdateRunStatusRequest": None,
    "flwr.proto.serverappio_pb2_grpc.ServerAppIoStub": ["channel"],
    "flwr.server.grid.grpc_grid.GrpcGrid": ["serverappio_service_address", "root_certificates"],
    "flwr.supercore.constant.NodeStatus": None,
    "flwr.supercore.inflatable.inflatable_object.get_all_nested_objects": ["obj"],
    "flwr.supercore.inflatable.inflatable_object.get_object_tree": ["obj"],
    "flwr.supercore.inflatable.inflatable_object.iterate_object_tree": ["tree"],
    "flwr.supercore.inflatable.inflatable_object.no_object_id_recompute": [],
    "flwr.supercore.inflatable.inflatable_utils.ObjectIdNotPreregisteredError": None,
    "flwr.supercore.inflatable.inflatable_utils.ObjectUnavailableError": None,
    "flwr.supercore.inflatable.inflatable_utils.inflate_object_from_contents": [
        "object_id",
        "object_contents",
        "keep_object_contents",
        "objects",
    ],
    "flwr.supercore.inflatable.inflatable_utils.pull_objects": [
        "object_ids",
        "pull_object_fn",
        "max_concurrent_pulls",
        "max_time",
        "max_tries_per_object",
        "initial_backoff",
        "backoff_cap",
    ],
    "flwr.supercore.inflatable.inflatable_utils.push_objects": [
        "objects",
        "push_object_fn",
        "object_ids_to_push",
        "keep_objects",
        "max_concurrent_pushes",
    ],
}

# Members that flwr itself marks as private or sets at run time.
PRIVATE_MEMBERS = {
    "flwr.server.grid.grpc_grid.GrpcGrid": {
        "_connect",
        "_stub",
        "_try_push_messages",
        "set_run",
        "push_messages",
        "close",
    },
    "flwr.common.Message": {"object_id", "metadata", "content"},
    "flwr.common.retry_invoker.RetryInvoker": {"invoke"},
}

CALLS_OF_A_HOSPITAL = {
    "ActivateNode",
    "DeactivateNode",
    "SendNodeHeartbeat",
    "PullMessages",
    "PushMessages",
    "PullObject",
    "PushObject",
    "ConfirmMessageReceived",
}


def resolve(path: str) -> object:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def flwr_imports(source: Path) -> set[str]:
    """Every name that a file imports from flwr, also where types are only checked."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "flwr":
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.partition(".")[0] == "flwr"}
    return found


def test_flwr_is_the_version_that_all_this_was_read_in():
    assert importlib.metadata.version("flwr") == "1.27.0"


def test_the_table_names_exactly_what_is_imported_and_only_the_link_imports_flwr():
    importing = {source: flwr_imports(source) for source in PACKAGE.rglob("*.py")}
    assert {source for source, names in importing.items() if names} == EDGES
    assert set().union(*importing.values()) == set(RELIED_ON)


@pytest.mark.parametrize("path", RELIED_ON)
def test_it_is_where_it_was_and_takes_what_it_took(path):
    thing, expected = resolve(path), RELIED_ON[path]
    if expected is not None:
        assert list(inspect.signature(thing).parameters) == expected


@pytest.mark.parametrize("path", PRIVATE_MEMBERS)
def test_private_members_are_still_there(path):
    assert PRIVATE_MEMBERS[path] <= set(dir(resolve(path)))


def test_the_grid_keeps_its_retries_and_its_node_where_they_are_replaced_or_read():
    grid = resolve("flwr.server.grid.grpc_grid.GrpcGrid")("127.0.0.1:1")
    assert {"_addr", "_channel", "_grpc_stub", "_retry_invoker", "node"} <= set(vars(grid))


def test_flwr_still_wraps_every_call_of_a_stub_in_invoke():
    source = inspect.getsource(importlib.import_module("flwr.common.retry_invoker").wrap_stub)
    assert "vars(stub)" in source
    assert "retry_invoker.invoke(" in source


def test_the_client_still_takes_what_it_took_and_gives_eight_functions_in_this_order():
    client = resolve("flwr.client.grpc_rere_client.connection").grpc_request_response
    assert list(inspect.signature(client).parameters) == [
        "server_address",
        "insecure",
        "retry_invoker",
        "max_message_length",
        "root_certificates",
        "authentication_keys",
        "adapter_cls",
    ]
    source = inspect.getsource(client)
    assert "channel = create_channel(" in source  # the name that ours takes the place of
    given = source.rpartition("yield (")[2].partition(")")[0].replace("\n", " ").split(",")
    assert [name.strip() for name in given if name.strip()] == [
        "node_id",
        "receive",
        "send",
        "get_run",
        "get_fab",
        "pull_object",
        "push_object",
        "confirm_message_received",
    ]
    assert "message: Message, object_tree: ObjectTree, clientapp_runtime: float" in source


def test_the_refusal_that_a_restarted_node_reads_its_number_from_is_worded_as_before():
    handler = importlib.import_module("flwr.server.superlink.fleet.message_handler.message_handler")
    assert 'f"SuperNode with node ID {node_id} could not be activated."' in inspect.getsource(
        handler.activate_node
    )
    match = node_side._STILL_ACTIVE.search("SuperNode with node ID 17 could not be activated.")
    assert match[1] == "17"


def intercepted_channel() -> grpc.Channel:
    """A channel as flwr's client opens it in a hospital."""
    keys = importlib.import_module("flwr.supercore.primitives.asymmetric").generate_key_pairs()
    interceptor = importlib.import_module("flwr.client.grpc_rere_client.node_auth_client_interceptor")
    connection = resolve("flwr.client.grpc_rere_client.connection")
    channel = connection.create_channel(
        "127.0.0.1:1", insecure=True, interceptors=[interceptor.NodeAuthClientInterceptor(*keys)]
    )
    channel.subscribe(connection.on_channel_state_change)
    return channel


def test_a_link_that_closes_as_soon_as_it_is_open_leaves_no_thread_to_complain():
    before = set(threading.enumerate())
    complaints = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", complaints.append)
        for _ in range(3):
            with intercepted_channel() as channel:
                node_side._FleetCalls(threading.Event()).bind(channel)
                assert not channel._channel._connectivity_state.polling
            grid = coordinator_side._Grid("127.0.0.1:1")
            grid._connect()
            grid.close()
        for thread in set(threading.enumerate()) - before:
            thread.join(10)
    assert complaints == []


def test_a_hospital_has_no_call_that_could_fetch_code():
    with intercepted_channel() as channel:
        whole_stub = vars(resolve("flwr.proto.fleet_pb2_grpc.FleetStub")(channel))
        assert {"GetFab", "GetRun"} <= set(whole_stub)  # flwr's own client could
        calls = node_side._FleetCalls(threading.Event()).bind(channel)
        assert {name for name, value in vars(calls).items() if callable(value)} == CALLS_OF_A_HOSPITAL


def test_keys_are_compared_in_the_form_in_which_they_are_registered():
    asymmetric = importlib.import_module("flwr.supercore.primitives.asymmetric")
    private_key, public_key = asymmetric.generate_key_pairs()
    serialization = importlib.import_module("cryptography.hazmat.primitives.serialization")
    line = public_key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    assert control._to_pem(line) == asymmetric.public_key_to_bytes(public_key)
    assert private_key.curve.name == "secp384r1"


def test_a_message_that_is_no_request_is_never_opened():
    message = node_side.Message(flower_wire.to_content(Envelope(Stage.SHARE, b"")), 1, "train")
    with pytest.raises(ProtocolRefused, match="'train' is not on the allow-list"):
        node_side._pull(None, message, None)


@pytest.mark.parametrize(
    "module", ["fedpriv.node.flower", "fedpriv.coordinator.flower", "fedpriv.coordinator.control"]
)
def test_importing_a_side_turns_telemetry_off_first_prints_nothing_and_loads_no_tensorflow(module, tmp_path):
    program = (
        f"import sys, {module}; from flwr.common import telemetry;"
        "assert telemetry.FLWR_TELEMETRY_ENABLED == '0';"
        "assert 'tensorflow' not in sys.modules and 'torch' not in sys.modules"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLWR")} | {
        "HOME": str(tmp_path)
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], env=environment, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert list(tmp_path.iterdir()) == []
