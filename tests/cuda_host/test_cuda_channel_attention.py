from suite import OpSuite


class TestChannelAttentionOnHost(OpSuite):
    op = "channel_attention"
