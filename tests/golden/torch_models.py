"""The PyTorch side of Ingot's models, shared by the golden files and by benchmarks/peer_pytorch.py.

  lenet5    1x28x28; conv1 1->6 5x5 pad 2, ReLU, max-pool 2, conv2 6->16 5x5, ReLU, max-pool 2, flatten (400),
            fc1 120, ReLU, fc2 84, ReLU, fc3. Keys conv1 conv2 fc1 fc2 fc3, each .weight and .bias.
  resnet20  3x32x32; He et al. 2015, section 4.2: conv1 3x3 3->16 (no bias), bn1, ReLU; layer1..layer3 of three basic
            blocks each, 16, 32, 64 channels, the first block of layer2 and layer3 with stride 2; global average
            pool; fc. Where a block changes shape its shortcut is a projection (option B of the paper): downsample.0,
            a 1x1 convolution without bias, and downsample.1, a batch norm. Keys as in torchvision's ResNet,
            layer1.0.conv1.weight and so on.
  resnet18, resnet50  torchvision's.
"""

import torch
import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock


class LeNet5(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x):
        f = nn.functional
        x = f.max_pool2d(f.relu(self.conv1(x)), 2)
        x = f.max_pool2d(f.relu(self.conv2(x)), 2)
        x = f.relu(self.fc1(x.flatten(1)))
        return self.fc3(f.relu(self.fc2(x)))


class ResNet20(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = self._stage(16, 16, 1)
        self.layer2 = self._stage(16, 32, 2)
        self.layer3 = self._stage(32, 64, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, num_classes)

    @staticmethod
    def _stage(inputs, outputs, stride):
        downsample = None
        if stride != 1 or inputs != outputs:
            downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        first = BasicBlock(inputs, outputs, stride, downsample)
        return nn.Sequential(first, BasicBlock(outputs, outputs), BasicBlock(outputs, outputs))

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x).flatten(1))


MAKERS = {
    "lenet5": LeNet5,
    "resnet20": ResNet20,
    "resnet18": lambda num_classes: torchvision.models.resnet18(num_classes=num_classes),
    "resnet50": lambda num_classes: torchvision.models.resnet50(num_classes=num_classes),
}


def make(name, num_classes):
    return MAKERS[name](num_classes)
