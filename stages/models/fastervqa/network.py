"""FasterVQA's network: backbone and head."""

from torch import Tensor, nn

from stages.models.fastervqa.swin import CHANNELS, SwinTransformer3D


class VQAHead(nn.Module):
    """Features to a map of quality, each place on its own: (B, T, H, W, C) to (B, 1, T, H, W)."""

    def __init__(self, channels: int, hidden: int = 64) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.fc_hid = nn.Conv3d(channels, hidden, kernel_size=1)
        self.gelu = nn.GELU()
        self.fc_last = nn.Conv3d(hidden, 1, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """Rate every place of the features."""
        x = self.dropout(features.permute(0, 4, 1, 2, 3))
        return self.fc_last(self.dropout(self.gelu(self.fc_hid(x))))


class FasterVQANet(nn.Module):
    """Normalised fragments (B, 3, T, S, S) to a map of quality (B, 1, T/2, S/32, S/32).

    A clip's raw score is its map's mean. Keys and shapes of the state dict are those of
    ``FAST_VQA_3D_1_1.pth``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fragments_backbone = SwinTransformer3D()
        self.vqa_head = VQAHead(CHANNELS[-1])

    def forward(self, clips: Tensor) -> Tensor:
        """The map of quality."""
        return self.vqa_head(self.fragments_backbone(clips))
