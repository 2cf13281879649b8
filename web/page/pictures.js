// Where pictures come from: a file, the clipboard, a drop, an address, the camera.

// given listens for pictures and hands on each with a name for HTML; problem gets what people should know.
export function given($, take, problem) {
  $('file').onchange = () => {
    const [file] = $('file').files;
    if (file) take(file, file.name);
    $('file').value = ''; // the same file again is another choice
  };
  addEventListener('paste', (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((f) => f.type.startsWith('image/'));
    if (file) take(file, file.name);
  });
  const dropping = (on) => document.body.classList.toggle('dropping', on);
  addEventListener('dragover', (event) => {
    event.preventDefault();
    dropping(true);
  });
  addEventListener('dragleave', (event) => event.relatedTarget ?? dropping(false));
  addEventListener('drop', (event) => {
    event.preventDefault();
    dropping(false);
    const [file] = event.dataTransfer.files;
    if (file) take(file, file.name);
    else problem('Drop a picture’s file: what was dropped is none.');
  });
  $('link').onsubmit = async (event) => {
    event.preventDefault();
    const url = $('url').value;
    try {
      const answer = await fetch(url);
      if (!answer.ok) return problem(`That address answers ${answer.status}.`);
      await take(await answer.blob(), url);
    } catch {
      problem('That site does not let this page read its pictures. Save the picture and choose its file.');
    }
  };
}

// camera offers a photo where there is a camera.
export function camera($, take) {
  if (!navigator.mediaDevices) return;
  const stop = () => {
    for (const track of $('video').srcObject?.getTracks() ?? []) track.stop();
    $('video').srcObject = null;
  };
  $('camera').hidden = false;
  $('camera').onclick = async () => {
    try {
      $('video').srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' } });
    } catch {
      $('status').textContent = 'There is no camera, or this page may not use it.';
      return;
    }
    $('viewfinder').showModal();
    await $('video').play();
  };
  $('cancel').onclick = () => $('viewfinder').close();
  $('viewfinder').onclose = stop;
  $('shoot').onclick = async () => {
    const canvas = new OffscreenCanvas($('video').videoWidth, $('video').videoHeight);
    canvas.getContext('2d').drawImage($('video'), 0, 0);
    const photo = await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.95 });
    $('viewfinder').close();
    await take(photo, 'photo.jpg');
  };
}
