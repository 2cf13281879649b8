"""Makes the golden vectors of learning from a teacher from PyTorch: python make_teacher.py (torch 2.8.0, transformers
4.57.1).

The teacher is the model of same/ with the batch of its golden.json, the student its layer 1 of the encoder and 0 of the
decoder. The loss is that of the Distiller of transformers' examples/research_projects/distillation (alpha_ce = ALPHA,
alpha_clm = 1 - ALPHA), of the teacher's K likeliest tokens at each place and all others together as one more.
teacher/golden.safetensors has these tokens and their log-probabilities as they are stored, the others' behind them
(token_ids, log_probs: label places in order), the student's logits before and after.NAME of its tensors after ten steps of
torch.optim.AdamW, golden.json what each step reported, and said: the three best of four beams for each picture."""
import base64, copy, json, pathlib

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax
from transformers import VisionEncoderDecoderModel, get_linear_schedule_with_warmup

HERE = pathlib.Path(__file__).parent
K, TEMPERATURE, ALPHA = 6, 2.0, 0.7
ENCODER, DECODER = [1], [0]


def logits_of(m, x, ids, captions):
    enc = m.encoder(x).last_hidden_state.repeat_interleave(captions, 0)
    return m.decoder(input_ids=ids, encoder_hidden_states=enc).logits


def half(teacher):
    m = copy.deepcopy(teacher)
    m.encoder.encoder.layer = torch.nn.ModuleList([m.encoder.encoder.layer[i] for i in ENCODER])
    m.decoder.transformer.h = torch.nn.ModuleList([m.decoder.transformer.h[i] for i in DECODER])
    return m


def with_others(logits, ids, temperature):
    """[N, V] → [N, K + 1]: those of ids [N, K], and of one token that at the temperature has what all others have."""
    others = logits.scatter(1, ids, -torch.inf)
    return torch.cat([logits.gather(1, ids), temperature * torch.logsumexp(others / temperature, 1, keepdim=True)], 1)


def distilled(student, teacher, temperature):
    """Logits of student and teacher, both [N, tokens]: KL(teacher ‖ student)·T², summed."""
    p = softmax(teacher / temperature, -1)
    return kl_div(log_softmax(student / temperature, -1), p, reduction="sum") * temperature**2


def main():
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    golden = json.loads((HERE / "same" / "golden.json").read_text())
    teacher = VisionEncoderDecoderModel.from_pretrained(HERE / "same", attn_implementation="eager").eval()
    k, t, side = golden["captions"], golden["tokens"], teacher.config.encoder.image_size
    pixels = np.frombuffer(base64.b64decode(golden["pixels"]), np.uint8).reshape(-1, side, side, 3)
    x = ((pixels * (1 / 255)).astype(np.float32) - np.float32(0.5)) / np.float32(0.5)
    x = torch.from_numpy(x).permute(0, 3, 1, 2)
    y = torch.tensor(golden["labels"]).reshape(-1, t)
    ids = torch.cat([torch.full((len(y), 1), teacher.config.decoder_start_token_id), y[:, :-1]], 1)
    ids = ids.masked_fill(ids < 0, teacher.config.pad_token_id)
    places = y >= 0
    with torch.no_grad():
        all_probs = log_softmax(logits_of(teacher, x, ids, k)[places], -1)
    token_ids = all_probs.topk(K, -1).indices
    log_probs = with_others(all_probs, token_ids, TEMPERATURE).half()

    end = teacher.config.decoder.eos_token_id
    rows = teacher.generate(pixel_values=x, max_length=12, num_beams=4, num_return_sequences=3, do_sample=False)[:, 1:].tolist()
    said = [row[: row.index(end) + 1] if end in row else row for row in rows]

    m = half(teacher)
    with torch.no_grad():  # with all tokens it is the script's
        logits = logits_of(m, x, ids, k)[places]
        script = torch.nn.KLDivLoss(reduction="batchmean")(
            log_softmax(logits / TEMPERATURE, -1), softmax(logits_of(teacher, x, ids, k)[places] / TEMPERATURE, -1)) * TEMPERATURE**2
        every = torch.arange(logits.shape[1] - 1).expand(len(logits), -1)
        split = (with_others(x, every, TEMPERATURE) for x in (logits, all_probs))
        for one in (distilled(logits, all_probs, TEMPERATURE), distilled(*split, TEMPERATURE)):
            assert torch.isclose(one / len(logits), script)
    trained = {n: p for n, p in m.named_parameters() if not n.startswith("encoder.pooler")}
    groups = [{"params": [p for p in trained.values() if (p.ndim > 1) == matrix], "weight_decay": decay} for matrix, decay in ((True, 0.1), (False, 0.0))]
    opt = torch.optim.AdamW(groups, lr=2e-3, betas=(0.9, 0.98), eps=1e-8)
    schedule = get_linear_schedule_with_warmup(opt, 3, 20)
    tensors = {"token_ids": token_ids.int(), "log_probs": log_probs}
    steps = []
    for step in range(10):
        opt.zero_grad()
        logits = logits_of(m, x, ids, k)[places]
        hard = cross_entropy(logits, y[places], reduction="sum")
        loss = ALPHA * distilled(with_others(logits, token_ids, TEMPERATURE), log_probs.float(), TEMPERATURE) + (1 - ALPHA) * hard
        (loss / golden["label_tokens"]).backward()
        if step == 0:
            tensors["logits"] = logits.detach().clone()
        norm = torch.nn.utils.clip_grad_norm_(trained.values(), 0.5)
        opt.step()
        schedule.step()
        steps.append({"loss_sum": float(loss.detach()), "grad_norm": float(norm)})
    tensors |= {"after." + n: p.detach().clone().contiguous() for n, p in trained.items()}
    out = HERE / "teacher"
    out.mkdir(exist_ok=True)
    save_file(tensors, out / "golden.safetensors")
    (out / "golden.safetensors").chmod(0o644)
    (out / "golden.json").write_text(json.dumps({
        "encoder": ENCODER, "decoder": DECODER, "temperature": TEMPERATURE, "alpha": ALPHA, "said": said, "steps": steps}) + "\n")


main()
