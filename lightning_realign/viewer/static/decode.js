// Motions from the page's data: each is decoded when it is first shown.

const page = JSON.parse(document.getElementById("data").textContent);

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Joints [T, J, 3] in metres, as one Float32Array; `packing.py` says how they are stored.
async function unpack(packed, frames) {
  const planes = await inflate(packed.data);
  const count = planes.length / 2;
  const width = count / frames;
  const joints = new Float32Array(count);
  for (let row = 0; row < width; row++) {
    const offset = packed.offset[row % 3];
    const scale = packed.scale[row % 3];
    let level = 0;
    for (let frame = 0; frame < frames; frame++) {
      const place = row * frames + frame;
      level = (level + planes[place] + (planes[count + place] << 8)) & 65535;
      joints[frame * width + row] = offset + scale * level;
    }
  }
  return joints;
}

// Fill in a motion's `positions` and `duration`.
function decode(motion) {
  motion.ready ??= unpack(motion.joints, motion.frames).then((positions) =>
    Object.assign(motion, { positions, duration: (motion.frames - 1) / motion.fps }),
  );
  return motion.ready;
}

// Fill in a motion's `steps`: its positions at each diffusion step, where they were kept.
function decodeSteps(motion) {
  motion.stepsReady ??= Promise.all(motion.trace.map((packed) => unpack(packed, motion.frames))).then((steps) => {
    motion.steps = steps;
  });
  return motion.stepsReady;
}
