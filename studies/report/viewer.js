"use strict";
/* A volume on a canvas: WebGL 2 walks each pixel's ray from voxel to voxel (Amanatides and Woo 1987), so that every
   voxel is exact, phases can be switched off and the volume cut. It draws only when something changes. */

const VERTEX = `#version 300 es
in vec2 corner;
void main() { gl_Position = vec4(corner, 0.0, 1.0); }`;

const FRAGMENT = `#version 300 es
precision highp float; precision highp int; precision highp usampler3D;
uniform usampler3D volume;
uniform vec3 size, low, high, right, up, back;
uniform vec2 canvas;
uniform float step_;
uniform uint shown;
uniform vec3 colours[16];
out vec4 colour;
bool filled(ivec3 at) {
  if (any(lessThan(at, ivec3(low))) || any(greaterThanEqual(at, ivec3(high)))) return false;
  return ((shown >> texelFetch(volume, at, 0).r) & 1u) == 1u;
}
void main() {
  vec2 place = (gl_FragCoord.xy - 0.5 * canvas) * step_;
  float reach = length(size);
  vec3 origin = 0.5 * size + right * place.x + up * place.y + back * reach;
  vec3 direction = -back;
  direction = mix(direction, vec3(1e-6), lessThan(abs(direction), vec3(1e-6)));
  vec3 inverse = 1.0 / direction;
  vec3 first = min((low - origin) * inverse, (high - origin) * inverse);
  vec3 last = max((low - origin) * inverse, (high - origin) * inverse);
  float near = max(first.x, max(first.y, first.z)), far = min(last.x, min(last.y, last.z));
  colour = vec4(0.0);
  if (near >= far) return;
  ivec3 at = ivec3(clamp(floor(origin + direction * (near + 1e-3)), low, high - 1.0));
  ivec3 forward = ivec3(sign(direction));
  vec3 next = (vec3(at) + max(vec3(forward), 0.0) - origin) * inverse;
  int axis = first.x >= first.y && first.x >= first.z ? 0 : (first.y >= first.z ? 1 : 2);
  float t = near;
  for (int i = 0; i < 4096; i++) {
    uint phase = texelFetch(volume, at, 0).r;
    if (((shown >> phase) & 1u) == 1u) {
      ivec3 normal = ivec3(0); normal[axis] = -forward[axis];
      vec3 hit = origin + direction * t;
      vec3 light = normalize(0.6 * back + 0.75 * up - 0.35 * right);
      float bright = 0.5 + 0.55 * max(dot(vec3(normal), light), 0.0);
      ivec3 above = at + normal;  // corners beside filled voxels are darker: shapes become readable
      for (int k = 1; k < 3; k++) {
        int other = (axis + k) % 3; ivec3 side = ivec3(0); side[other] = 1;
        float inside = fract(hit[other]);
        if (filled(above + side)) bright *= 1.0 - 0.35 * inside * inside;
        if (filled(above - side)) bright *= 1.0 - 0.35 * (1.0 - inside) * (1.0 - inside);
      }
      bright *= 1.0 - 0.35 * (t - reach * 0.5) / reach;
      colour = vec4(min(colours[phase] * bright * 1.6, 1.0), 1.0);
      return;
    }
    if (next.x <= next.y && next.x <= next.z) { t = next.x; at.x += forward.x; next.x += abs(inverse.x); axis = 0; }
    else if (next.y <= next.z) { t = next.y; at.y += forward.y; next.y += abs(inverse.y); axis = 1; }
    else { t = next.z; at.z += forward.z; next.z += abs(inverse.z); axis = 2; }
    if (any(lessThan(at, ivec3(low))) || any(greaterThanEqual(at, ivec3(high)))) return;
  }
}`;

/** Bit planes, deflated, in base64 -> phase indices, Uint8Array in C order (z, y, x). */
async function unpackVoxels(stored) {
  const bytes = Uint8Array.from(atob(stored.data), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const count = stored.shape[0] * stored.shape[1] * stored.shape[2], length = Math.ceil(count / 8);
  const voxels = new Uint8Array(count);
  for (let bit = 0; bit < stored.bits; bit++)
    for (let i = 0; i < count; i++) voxels[i] |= ((planes[bit * length + (i >> 3)] >> (i & 7)) & 1) << bit;
  for (let i = 0; i < count; i++) voxels[i] = stored.labels[voxels[i]];
  return voxels;
}

class VolumeView {
  constructor(canvas, frame) {
    this.canvas = canvas; this.frame = frame.getContext("2d");
    this.turn = 0.7; this.tilt = 0.5; this.zoom = 1; this.cut = [0, 0, 0]; this.shown = 1; this.shape = null;
    const gl = (this.gl = canvas.getContext("webgl2", { alpha: true, premultipliedAlpha: false, preserveDrawingBuffer: true }));
    if (!gl) return;
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text); gl.compileShader(shader); gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) || "shader");
    gl.useProgram(program);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 3, -1, -1, 3]), gl.STATIC_DRAW);
    const corner = gl.getAttribLocation(program, "corner");
    gl.enableVertexAttribArray(corner); gl.vertexAttribPointer(corner, 2, gl.FLOAT, false, 0, 0);
    gl.bindTexture(gl.TEXTURE_3D, gl.createTexture());
    for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_3D, name, gl.NEAREST);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    this.where = (name) => gl.getUniformLocation(program, name);
  }

  get works() { return Boolean(this.gl); }

  /** voxels: Uint8Array (z, y, x); shape [z, y, x]; colours: ["#rrggbb"] of the phases. */
  load(voxels, shape, colours) {
    const gl = this.gl, [z, y, x] = shape;
    this.shape = shape; this.cut = [...shape];
    gl.texImage3D(gl.TEXTURE_3D, 0, gl.R8UI, x, y, z, 0, gl.RED_INTEGER, gl.UNSIGNED_BYTE, voxels);
    const numbers = new Float32Array(48);
    colours.slice(0, 16).forEach((text, i) => { for (let k = 0; k < 3; k++) numbers[3 * i + k] = parseInt(text.slice(1 + 2 * k, 3 + 2 * k), 16) / 255; });
    gl.uniform3fv(this.where("colours"), numbers);
  }

  axes() {
    const [s, c] = [Math.sin(this.tilt), Math.cos(this.tilt)], [sa, ca] = [Math.sin(this.turn), Math.cos(this.turn)];
    return { back: [c * ca, c * sa, s], right: [-sa, ca, 0], up: [-s * ca, -s * sa, c] };  // x, y, z
  }

  draw() {
    if (!this.shape || this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.drawNow(); });
  }

  drawNow() {
    const gl = this.gl, [z, y, x] = this.shape, { back, right, up } = this.axes();
    const side = this.canvas.width, step = Math.hypot(x, y, z) * 1.02 / side / this.zoom;
    gl.viewport(0, 0, side, side);
    gl.uniform3f(this.where("size"), x, y, z); gl.uniform3f(this.where("low"), 0, 0, 0);
    gl.uniform3f(this.where("high"), this.cut[2], this.cut[1], this.cut[0]);
    gl.uniform3fv(this.where("right"), right); gl.uniform3fv(this.where("up"), up); gl.uniform3fv(this.where("back"), back);
    gl.uniform2f(this.where("canvas"), side, side); gl.uniform1f(this.where("step_"), step);
    gl.uniform1ui(this.where("shown"), this.shown);
    gl.clearColor(0, 0, 0, 0); gl.clear(gl.COLOR_BUFFER_BIT); gl.drawArrays(gl.TRIANGLES, 0, 3);
    this.box([x, y, z], { back, right, up }, step, side);
  }

  /** The edges of the whole volume, those behind it faint, and the names of the axes. */
  box(size, { back, right, up }, step, side) {
    const paper = this.frame, dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    const place = (at) => { const p = at.map((value, i) => value - size[i] / 2); return [side / 2 + dot(p, right) / step, side / 2 - dot(p, up) / step]; };
    paper.clearRect(0, 0, side, side);
    for (let axis = 0; axis < 3; axis++) for (let a = 0; a < 2; a++) for (let b = 0; b < 2; b++) {
      const from = [0, 0, 0], j = (axis + 1) % 3, k = (axis + 2) % 3;
      from[j] = a * size[j]; from[k] = b * size[k];
      const to = [...from]; to[axis] = size[axis];
      const hidden = (a === 0) === (back[j] > 0) && (b === 0) === (back[k] > 0);
      paper.strokeStyle = hidden ? "rgba(90,105,120,.18)" : "rgba(60,75,90,.55)"; paper.lineWidth = 1.6;
      paper.beginPath(); paper.moveTo(...place(from)); paper.lineTo(...place(to)); paper.stroke();
    }
    paper.font = "26px system-ui"; paper.fillStyle = "#33475b"; paper.textAlign = "center"; paper.textBaseline = "middle";
    ["x", "y", "z"].forEach((name, axis) => {
      const at = [0, 0, 0].map((_, i) => (i === axis ? size[i] / 2 : i === 2 ? -0.05 * size[2] : back[i] > 0 ? size[i] * 1.05 : -size[i] * 0.05));
      if (name === "z") { at[0] = right[0] > 0 ? size[0] * 1.05 : -size[0] * 0.05; at[1] = right[1] > 0 ? size[1] * 1.05 : -size[1] * 0.05; at[2] = size[2] / 2; }
      paper.fillText(name, ...place(at));
    });
  }
}
