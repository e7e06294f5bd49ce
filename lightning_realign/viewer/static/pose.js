// Poses: joints between frames, the points of the body that hang on them, and where it faces.

class Pose {
  constructor(motion) {
    this.motion = motion;
    this.body = page.bodies[motion.body];
    this.joints = motion.positions.length / motion.frames / 3;
    this.points = new Float32Array(3 * (this.joints + this.body.points.length));
    this.facing = [0, 0, 1];
  }

  // Take the pose at a time in seconds; before the first and after the last frame the body stands still.
  at(time, positions) {
    const { fps, frames } = this.motion;
    const place = Math.min(Math.max(time * fps, 0), frames - 1);
    const first = Math.floor(place + 1e-6);
    const share = Math.max(place - first, 0);
    const width = 3 * this.joints;
    const start = first * width;
    const next = Math.min(first + 1, frames - 1) * width;
    for (let value = 0; value < width; value++) {
      this.points[value] = positions[start + value] * (1 - share) + positions[next + value] * share;
    }
    this.#face();
    this.#hang();
  }

  // The horizontal direction of up x (left to right).
  #face() {
    const p = this.points;
    const [rightHip, leftHip, rightShoulder, leftShoulder] = this.body.face.map((joint) => 3 * joint);
    const x = p[rightHip] - p[leftHip] + p[rightShoulder] - p[leftShoulder];
    const z = p[rightHip + 2] - p[leftHip + 2] + p[rightShoulder + 2] - p[leftShoulder + 2];
    const length = Math.hypot(x, z);
    if (length > 1e-4) this.facing = [z / length, 0, -x / length];
  }

  #hang() {
    const p = this.points;
    let place = 3 * this.joints;
    for (const { mix, along, ahead } of this.body.points) {
      for (let axis = 0; axis < 3; axis++) {
        let sum = 0;
        for (const point of mix) sum += p[3 * point + axis];
        p[place + axis] = sum / mix.length + ahead * this.facing[axis];
      }
      for (const [start, stop, distance] of along) {
        const [x, y, z] = [0, 1, 2].map((axis) => p[3 * stop + axis] - p[3 * start + axis]);
        const length = Math.hypot(x, y, z);
        if (length < 1e-5) continue;
        p[place] += (distance * x) / length;
        p[place + 1] += (distance * y) / length;
        p[place + 2] += (distance * z) / length;
      }
      place += 3;
    }
  }
}
