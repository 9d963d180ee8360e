from suite import OpSuite


class TestNonLocalOnHost(OpSuite):
    op = "non_local"
    archs = (75,)


class TestNonLocalFromSm80(OpSuite):
    op = "non_local"
    archs = (80,)
    # The instances differ in their products alone, and this runs every one of them.
    test_layouts = test_inputs_stay_and_outputs_are_new = test_deterministic = test_wrong_arguments_are_named = None
    test_compiles_to_one_graph = test_schema = test_double_backward_raises = None
