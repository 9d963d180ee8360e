from suite import OpSuite


class TestAwms(OpSuite):
    op = "awms"
