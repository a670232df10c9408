"""Writes tests/golden/explain.json: attributions that Captum computed and Ingot must reproduce.

    pip install captum        # 0.9.0 made the file
    python tests/golden/make_explain_golden.py

One image of 12 x 12 pixels, a ResNet of one block a stage in evaluation mode with the weights of formula.py, in float64. Figures
are row-major with ten digits. SmoothGrad's noise is `0.25 * unit("explain/noise/k")`, given to Captum in the place of its draws.
"""

import pathlib

import captum
import torch
from captum import attr

import formula
import make_golden
import torch_models

SIZE, TARGET, SAMPLES = 12, 3, 5
STEPS = [8, 32, 128, 512]


def numbers(tensor):
    return [float(f"{v:.10g}") for v in tensor.detach().flatten().tolist()]


def tensor(key, shape):
    return torch.from_numpy(formula.unit(key, shape)).double()


def main():
    model = torch_models.CifarResNet(1, make_golden.CLASSES).double().eval()
    with torch.no_grad():
        for key, value in model.state_dict().items():
            value.copy_(torch.from_numpy(formula.parameter(key, tuple(value.shape))))
            # Statistics as of a training: zero and one would hide a batch norm that reads the wrong ones.
            if key.endswith("running_mean"):
                value.copy_(tensor(key, tuple(value.shape)) / 4)
            elif key.endswith("running_var"):
                value.copy_(1 + tensor(key, tuple(value.shape)) / 2)
    for module in model.modules():  # Captum's hooks do not stand ReLUs that write over their operand
        if isinstance(module, torch.nn.ReLU):
            module.inplace = False
    x = tensor("explain/x", (1, 3, SIZE, SIZE))
    baseline = 0.5 * tensor("explain/baseline", (1, 3, SIZE, SIZE))
    with torch.no_grad():
        score, baseline_score = (float(model(v)[0, TARGET]) for v in (x, baseline))

    integrated = {}
    for method in ("gausslegendre", "riemann_middle"):
        integrated[method] = numbers(attr.IntegratedGradients(model).attribute(x, baseline, TARGET, n_steps=7, method=method))

    # Sum of the attributions less the difference of the scores, in float64: what the quadrature leaves.
    left = {method: {str(target): [float(attr.IntegratedGradients(model).attribute(
        x, baseline, target, n_steps=n, method=method, internal_batch_size=64, return_convergence_delta=True)[1])
        for n in STEPS] for target in (0, 3, 9)} for method in integrated}

    saliency = attr.Saliency(model).attribute(x, TARGET, abs=False)
    noise = torch.cat([0.25 * tensor(f"explain/noise/{k}", (1, 3, SIZE, SIZE)) for k in range(SAMPLES)])
    drawn = torch.normal
    torch.normal = lambda mean, std: mean + noise
    try:
        smooth = attr.NoiseTunnel(attr.Saliency(model)).attribute(x, nt_type="smoothgrad", nt_samples=SAMPLES, stdevs=0.25,
                                                                  target=TARGET, abs=False)
    finally:
        torch.normal = drawn

    occlusion = attr.Occlusion(model).attribute(x, (3, 5, 4), (3, 3, 3), baseline, TARGET)

    cams = {}
    for layer in ("layer2", "layer3"):
        coarse = attr.LayerGradCam(model, getattr(model, layer)).attribute(x, TARGET, relu_attributions=True)
        fine = attr.LayerAttribution.interpolate(coarse, (SIZE, SIZE), "bilinear")
        cams[layer] = {"coarse": numbers(coarse), "fine": numbers(fine)}

    out = {"size": SIZE, "target": TARGET, "samples": SAMPLES, "steps": 7, "window": [5, 4], "stride": [3, 3],
           "made_with": {**make_golden.made_with(), "captum": captum.__version__},
           "score": score, "baseline_score": baseline_score, "saliency": numbers(saliency),
           "integrated_gradients": integrated, "completeness_steps": STEPS, "completeness": left, "smoothgrad": numbers(smooth), "occlusion": numbers(occlusion), "grad_cam": cams}
    make_golden.write(pathlib.Path(__file__).resolve().parent / "explain.json", out)
    print(f"score {score:.5f}, baseline's {baseline_score:.5f}; sum of integrated gradients "
          f"{sum(integrated['gausslegendre']):.5f}; occlusion {occlusion.abs().max():.4f}, "
          f"cams {[max(c['coarse']) for c in cams.values()]}, smooth {smooth.abs().max():.4f}, saliency {saliency.abs().max():.4f}")


if __name__ == "__main__":
    main()
