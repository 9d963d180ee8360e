from suite import OpSuite


class TestGatedResidualOnHost(OpSuite):
    op = "gated_residual"
