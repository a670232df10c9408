"""The PyTorch side of Ingot's models, shared by the golden files and by benchmarks/peer_pytorch.py.

  lenet5    1x28x28; conv1 1->6 5x5 pad 2, ReLU, max-pool 2, conv2 6->16 5x5, ReLU, max-pool 2, flatten (400),
            fc1 120, ReLU, fc2 84, ReLU, fc3. Keys conv1 conv2 fc1 fc2 fc3, each .weight and .bias.
  resnet20, resnet32, resnet56, resnet110
            of n = 3, 5, 9, 18 blocks a stage. 3x32x32; He et al. 2015, section 4.2: conv1 3x3 3->16 (no bias), bn1, ReLU; layer1..layer3 of n basic
            blocks each, 16, 32, 64 channels, the first block of layer2 and layer3 with stride 2; global average
            pool; fc. Where a block changes shape its shortcut is a projection (option B of the paper): downsample.0,
            a 1x1 convolution without bias, and downsample.1, a batch norm. Keys as in torchvision's ResNet,
            layer1.0.conv1.weight and so on.
  airbench94
            3x32x32; Jordan 2024, arXiv 2404.00498: a 2x2 convolution to 24 channels, GELU, three groups (convolution 3x3,
            max-pool 2, batch norm, GELU, convolution 3x3, batch norm, GELU) of 64, 256 and 256 channels, max-pool 3, a
            linear layer without bias, times 1/9. Keys are places in that sequence.
  the names in TORCHVISION
            torchvision's; googlenet without its auxiliary classifiers.
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


class CifarResNet(nn.Module):
    def __init__(self, blocks, num_classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = self._stage(blocks, 16, 16, 1)
        self.layer2 = self._stage(blocks, 16, 32, 2)
        self.layer3 = self._stage(blocks, 32, 64, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, num_classes)

    @staticmethod
    def _stage(blocks, inputs, outputs, stride):
        downsample = None
        if stride != 1 or inputs != outputs:
            downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        first = BasicBlock(inputs, outputs, stride, downsample)
        return nn.Sequential(first, *(BasicBlock(outputs, outputs) for _ in range(blocks - 1)))

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x).flatten(1))


class AirbenchGroup(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs, eps=1e-12, momentum=0.4)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs, eps=1e-12, momentum=0.4)

    def forward(self, x):
        f = nn.functional
        x = f.gelu(self.norm1(f.max_pool2d(self.conv1(x), 2)))
        return f.gelu(self.norm2(self.conv2(x)))


class Ninth(nn.Module):
    def forward(self, x):
        return x / 9


def airbench94(num_classes):
    return nn.Sequential(nn.Conv2d(3, 24, 2), nn.GELU(), AirbenchGroup(24, 64), AirbenchGroup(64, 256),
                         AirbenchGroup(256, 256), nn.MaxPool2d(3), nn.Flatten(), nn.Linear(256, num_classes, bias=False),
                         Ninth())


CIFAR = {"resnet20": 3, "resnet32": 5, "resnet56": 9, "resnet110": 18}
TORCHVISION = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "wide_resnet50_2", "vgg11",
               "vgg11_bn", "vgg16", "vgg16_bn", "squeezenet1_0", "squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small",
               "mobilenet_v3_large", "densenet121", "googlenet", "efficientnet_b0", "efficientnet_b1", "efficientnet_b2",
               "efficientnet_b3", "convnext_tiny"]
SMALL = ["lenet5", *CIFAR, "airbench94"]  # of ten classes
NAMES = [*SMALL, *TORCHVISION]


def make(name, num_classes):
    if name == "lenet5":
        return LeNet5(num_classes)
    if name == "airbench94":
        return airbench94(num_classes)
    if name in CIFAR:
        return CifarResNet(CIFAR[name], num_classes)
    more = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
    return torchvision.models.get_model(name, weights=None, num_classes=num_classes, **more)
